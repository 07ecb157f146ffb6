/**
 * Errors of Tendril. Every class has a stable `code`; docs/errors.md has a row for each.
 *
 * `instanceof` works across realms and across copies of this library (a master and a child that runs a streamed core
 * are such a case), because it looks at a `Symbol.for` brand.
 */
const BRAND: unique symbol = Symbol.for('tendril.error') as never;

/** Base of all errors that Tendril raises itself. */
export class TendrilError extends Error {
  static readonly brand: string = 'TendrilError';
  /** Stable, machine-readable: `ERR_TENDRIL_...`. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    Object.defineProperty(this, BRAND, { value: brands(new.target) });
    Object.defineProperty(this, 'name', { value: new.target.brand, configurable: true, writable: true });
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    if (typeof value !== 'object' || value === null) return false;
    const found = (value as { [BRAND]?: readonly string[] })[BRAND];
    return found?.includes(this.brand) ?? false;
  }
}

function brands(from: typeof TendrilError): readonly string[] {
  const found: string[] = [];
  for (let at: unknown = from; typeof at === 'function' && 'brand' in at; at = Object.getPrototypeOf(at)) found.push((at as typeof TendrilError).brand);
  return found;
}

/** A frame that the peer announced, or that was to be sent, is over `maxMessageSize`. Receiving one disconnects the peer. */
export class FrameTooLargeError extends TendrilError {
  static override readonly brand: string = 'FrameTooLargeError';
  constructor(length: number, limit: number) {
    super('ERR_TENDRIL_MESSAGE_TOO_LARGE', `message too large (${String(length)} bytes, max ${String(limit)} bytes); raise maxMessageSize at the master or send the data in parts`);
  }
}

/** A value cannot cross the wire. `path` tells where in the value the trouble is. */
export class EncodeError extends TendrilError {
  static override readonly brand: string = 'EncodeError';
  /** Where the offending value is, such as `args[0].socket`. */
  readonly path: string;
  constructor(path: string, what: string) {
    super('ERR_TENDRIL_ENCODE', `${path} cannot be sent: ${what}`);
    this.path = path;
  }
}

/** A payload that came over the wire breaks the rules of docs/protocol.md. The payload itself is never shown. */
export class DecodeError extends TendrilError {
  static override readonly brand: string = 'DecodeError';
  constructor(what: string) {
    super('ERR_TENDRIL_DECODE', `the payload is not valid: ${what}`);
  }
}

/** Why a dead message was sent: the stable first word of its data. */
export type DeadReason =
  | 'no-route'
  | 'invalid-handle'
  | 'refused-by-policy'
  | 'refused-by-routing'
  | 'unexpected-source'
  | 'too-large'
  | 'respondent-gone'
  | 'mailbox-full'
  | 'broker-exit'
  | 'closed'
  | 'error';

/** A conversation ended otherwise than by an orderly close. `reason` is the code of the dead message. */
export class ChannelError extends TendrilError {
  static override readonly brand: string = 'ChannelError';
  readonly reason: string;
  constructor(reason: string, text: string) {
    super('ERR_TENDRIL_CHANNEL', text === '' ? reason : text);
    this.reason = reason;
  }
}

/** Something was asked of a context, router or broker that has shut down. */
export class ShutdownError extends TendrilError {
  static override readonly brand: string = 'ShutdownError';
  constructor(what: string) {
    super('ERR_TENDRIL_SHUTDOWN', `${what} has shut down; make a new one`);
  }
}

/** A call took longer than its `deadline`, or than that of the call in which it was made. It is cancelled. */
export class DeadlineError extends TendrilError {
  static override readonly brand: string = 'DeadlineError';
  constructor(name: string, ms: number) {
    super('ERR_TENDRIL_DEADLINE', `the call to ${name} took longer than the ${String(Math.round(ms))} ms that it had; give it more with the option deadline, or make it do less`);
  }
}

/** The API was used in a way that cannot work; the message says what to do. */
export class UsageError extends TendrilError {
  static override readonly brand: string = 'UsageError';
}

/** An error with a message and a stack, also when it comes from another realm (jest, vm, workers). */
export function isError(value: unknown): value is Error {
  if (value instanceof Error) return true;
  return typeof value === 'object' && value !== null && Object.prototype.toString.call(value) === '[object Error]';
}

/** Text of anything that was thrown; never throws itself. */
export function messageOf(thrown: unknown): string {
  try {
    return isError(thrown) ? thrown.message : String(thrown);
  } catch {
    return 'an error that cannot be shown';
  }
}
