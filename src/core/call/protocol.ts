import type { WindowSize } from './remote-stream.ts';

/** Which function: a module by its ID, a class for a static method, the name of the export or method. */
export interface FunctionRef {
  readonly module: string;
  readonly className: string | null;
  readonly name: string;
  /** The handle that the call goes to; CALL_FUNCTION when it is left out. */
  readonly handle?: number;
}

/** Payload of CALL_FUNCTION, and of CALL_SERVICE. The reply handle of the message identifies the call. */
export type CallRequest = readonly [chain: string | null, module: string, className: string | null, name: string, args: readonly unknown[], options?: RequestOptions];

/** What a caller wants otherwise than it is by default. */
export interface RequestOptions {
  /** The window of the caller. */
  readonly w?: WindowSize;
  /** Milliseconds that are left until the deadline. */
  readonly d?: number;
}

/** The module with what a context needs to take streams; it goes ahead of the first one. */
export const FLOW_MODULE = 'file:///.library/flow.cjs';

/** Identifies a call at its callee: reply handles are unique within the caller only. */
export function callKey(srcId: number, replyTo: number): number {
  return srcId * 2 ** 32 + replyTo;
}

/** A reply to a call: the first item tells what it is. */
export const REPLY_RESULT = 0;
export const REPLY_NEXT = 1;
export const REPLY_COMPLETE = 2;
export const REPLY_ERROR = 3;

/** `[RESULT, value]` is a value and the end; `[NEXT, value]`, `[COMPLETE]` and `[ERROR, error]` make a stream. */
export type Reply = readonly [kind: number, value?: unknown];

/** What a caller tells a callee on CALL_CONTROL: `[reply handle, kind, ...]`. */
export const CONTROL_CANCEL = 0;
export const CONTROL_CREDIT = 1;
export type CallControl = readonly [call: number, kind: number, values?: number, bytes?: number];

/** What a callee may have in flight before the caller acknowledges (docs/limits.md). */
export const WINDOW_VALUES = 256;
export const WINDOW_BYTES: number = 4 * 1024 * 1024;

/** Values and bytes of a source without backpressure that wait for credit; beyond, the call fails, loudly. */
export const MAX_WAITING_VALUES: number = 64 * 1024;
export const MAX_WAITING_BYTES: number = 64 * 1024 * 1024;
