import { UsageError } from '../../core/errors.ts';
import { checkNames } from '../option-names.ts';
import { ConnectError } from './connect-error.ts';
import type { ConnectReason } from './connect-error.ts';
import type { Closed } from './connection.ts';

/** When to connect again: back-off with jitter. */
export interface ReconnectOptions {
  /** Milliseconds before the first attempt, at most. Default 500. */
  readonly initialDelayMs?: number;
  /** Milliseconds before any attempt, at most. Default 30000. */
  readonly maxDelayMs?: number;
  /** How much longer each delay may be than the one before. Default 2. */
  readonly factor?: number;
  /** The share of the delay that is drawn at random, from 0 to 1. Default 1: anything from nothing to the whole delay. */
  readonly jitter?: number;
  /** Attempts in a row after which it is given up. Default: never. */
  readonly maxAttempts?: number;
}

/**
 * Milliseconds until the next attempt, or undefined to give up.
 *
 * @param attempt - 1 for the first one since a connection that has lasted
 * @param closed - how the connection before it came to its end
 */
export type ReconnectFunction = (attempt: number, closed: Closed) => number | undefined;

/** The option `reconnect`: true is the same as `{}`. */
export type Reconnect = boolean | ReconnectOptions | ReconnectFunction;

/** Milliseconds that a connection must last for the attempts to be counted anew; one that breaks at once has not come back. */
export const LASTING_MS = 30_000;

/** What another attempt would not change; some of it locks accounts. A function may decide otherwise. */
const FINAL: readonly ConnectReason[] = ['AUTH_FAILED', 'HOST_KEY_UNKNOWN', 'HOST_KEY_CHANGED', 'HOST_KEY_REVOKED', 'NODE_MISSING', 'NODE_TOO_OLD', 'PERMISSION_DENIED', 'BAD_KEY', 'BAD_OPTION', 'SSH2_MISSING'];

/** What the option comes to; undefined when there is to be no second attempt. */
export function reconnectFunction(option: Reconnect | undefined, random: () => number = Math.random): ReconnectFunction | undefined {
  if (option === undefined || option === false) return undefined;
  if (typeof option === 'function') return option;
  checkNames('reconnect', option === true ? {} : option, ['initialDelayMs', 'maxDelayMs', 'factor', 'jitter', 'maxAttempts'] satisfies (keyof ReconnectOptions)[]);
  const { initialDelayMs = 500, maxDelayMs = 30_000, factor = 2, jitter = 1, maxAttempts = Infinity } = option === true ? {} : option;
  const valid = initialDelayMs >= 0 && maxDelayMs >= initialDelayMs && maxDelayMs < Infinity && factor >= 1 && jitter >= 0 && jitter <= 1 && maxAttempts >= 1;
  if (!valid) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option reconnect must be true, a function, or { initialDelayMs, maxDelayMs, factor, jitter, maxAttempts } with 0 <= initialDelayMs <= maxDelayMs, factor from 1, jitter from 0 to 1 and maxAttempts from 1, got ${JSON.stringify(option)}`);
  return (attempt, { error }) => {
    if (attempt > maxAttempts || (error instanceof ConnectError && FINAL.includes(error.reason))) return undefined;
    const delayMs = Math.min(maxDelayMs, initialDelayMs * factor ** (attempt - 1));
    return delayMs * (1 - jitter * random());
  };
}
