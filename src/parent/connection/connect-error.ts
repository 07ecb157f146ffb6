import { TendrilError } from '../../core/errors.ts';

/** Why connections fail. */
export const CONNECT_REASONS = [
  'AUTH_FAILED',
  'HOST_KEY_UNKNOWN',
  'HOST_KEY_CHANGED',
  'HOST_KEY_REVOKED',
  'REFUSED',
  'UNREACHABLE',
  'DNS',
  'CONNECT_TIMEOUT',
  'NODE_MISSING',
  'NODE_TOO_OLD',
  'RUNTIME_NO_PLACE',
  'RUNTIME_PLATFORM',
  'RUNTIME_CHECKSUM',
  'CONNECT_EOF',
  'PERMISSION_DENIED',
  'TTY_REQUIRED',
  'PROGRAM_MISSING',
  'USER_UNKNOWN',
  'TARGET_MISSING',
  'TARGET_STOPPED',
  'NOT_SSH',
  'HANDSHAKE_FAILED',
  'BAD_KEY',
  'AGENT',
  'BAD_OPTION',
  'SSH2_MISSING',
  'SPAWN_FAILED',
  'VIA_LOST',
  'CANCELLED',
] as const;

/** Why a connection failed; the `code` of a {@link ConnectError} is `ERR_TENDRIL_` and one of these. */
export type ConnectReason = (typeof CONNECT_REASONS)[number];

/** How far a connection had come. */
export type ConnectPhase = 'transport' | 'authentication' | 'command' | 'runtime' | 'first-stage' | 'core';

/** Details of a {@link ConnectError}. */
export interface ConnectErrorOptions extends ErrorOptions {
  /** How far it had come. */
  readonly phase: ConnectPhase;
  /** The last output of the other side, made safe to print; at most 4 KiB. */
  readonly output?: string;
}

/** A context could not be connected. One error for the context and for every call that waits on it. */
export class ConnectError extends TendrilError {
  static override readonly brand: string = 'ConnectError';
  /** The `code` without its prefix. */
  readonly reason: ConnectReason;
  readonly phase: ConnectPhase;
  readonly output: string;

  constructor(reason: ConnectReason, message: string, options: ConnectErrorOptions) {
    super(`ERR_TENDRIL_${reason}`, message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.phase = options.phase;
    this.output = options.output ?? '';
  }
}
