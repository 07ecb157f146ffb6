import { IS_DEAD } from '../core/wire/frame.ts';
import type { Router } from '../core/routing/router.ts';
import type { Backlog } from './backlog.ts';
import type { ServiceCall } from './life.ts';

/** Calls that one context may have under way or waiting, unless it is above this one. */
export const MAX_CALLS = 1024;
/** Bytes of their messages, and of values that they have not acknowledged; one call may always be there, however large. */
export const MAX_BYTES: number = 64 * 1024 * 1024;

interface Caller {
  readonly calls: Map<number, ServiceCall>;
  /** On which the router tells that the context is gone. */
  readonly handle: number;
  bytes: number;
}

/** The calls of contexts that are not above this one: bounded, and cancelled when their context is gone. */
export class Callers {
  readonly #router: Router;
  readonly #callers = new Map<number, Caller>();

  constructor(router: Router) {
    this.#router = router;
  }

  /** Contexts that have calls here. For leak checks. */
  get size(): number {
    return this.#callers.size;
  }

  /** Whether a context has a call under way with this key. */
  has(contextId: number, key: number): boolean {
    return this.#callers.get(contextId)?.calls.has(key) ?? false;
  }

  /** Notes a call until it has ended. The result counts what waits for its context; undefined when that has too much under way. */
  note(execution: ServiceCall, bytes: number): Backlog | undefined {
    const { callerId, key } = execution;
    const caller = this.#callers.get(callerId) ?? this.#begin(callerId);
    const { calls } = caller;
    if (calls.size > 0 && (calls.size >= MAX_CALLS || caller.bytes + bytes > MAX_BYTES)) return undefined;
    calls.set(key, execution);
    caller.bytes += bytes;
    execution.then(() => {
      calls.delete(key);
      caller.bytes -= bytes;
      if (calls.size > 0 || this.#callers.get(callerId) !== caller) return;
      this.#router.removeHandler(caller.handle);
      this.#callers.delete(callerId);
    });
    return {
      take: (more) => {
        if (caller.bytes + more > MAX_BYTES) return false;
        caller.bytes += more;
        return true;
      },
      give: (less) => {
        caller.bytes -= less;
      },
    };
  }

  #begin(respondent: number): Caller {
    const caller: Caller = { calls: new Map(), handle: this.#router.allocateHandle(), bytes: 0 };
    this.#callers.set(respondent, caller);
    this.#router.addHandler(caller.handle, {
      respondent,
      deliver: ({ replyTo }) => {
        if (replyTo !== IS_DEAD) return;
        for (const execution of [...caller.calls.values()]) execution.cancel();
      },
    });
    return caller;
  }
}
