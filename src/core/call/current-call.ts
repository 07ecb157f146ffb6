import { AsyncLocalStorage } from 'node:async_hooks';
import { UsageError } from '../errors.ts';

/** What a function that runs on behalf of a remote caller can learn of its call. */
export interface CurrentCall {
  /** Fires when the caller unsubscribes, when the way to it is lost, and when this context shuts down. */
  readonly signal: AbortSignal;
  /** The context that called. */
  readonly callerId: number;
  /**
   * When the call is over for its caller, in milliseconds of this process's `performance.now()`; undefined if it gave no
   * deadline. The signal fires then. Calls to other contexts that are made in it have the same deadline.
   */
  readonly deadline: number | undefined;
}

/**
 * Follows calls through their asynchronous work. It costs every call a little, so it is switched on when user code
 * first loads this library in a child: nobody else can ask.
 */
export class CallTracker {
  #storage: AsyncLocalStorage<CurrentCall> | undefined;
  #running: CurrentCall | undefined;

  enable(): void {
    this.#storage ??= new AsyncLocalStorage();
  }

  run<R>(call: CurrentCall, work: () => R): R {
    if (this.#storage) return this.#storage.run(call, work);
    const outer = this.#running;
    this.#running = call;
    try {
      return work();
    } finally {
      this.#running = outer;
    }
  }

  current(): CurrentCall {
    const call = this.#storage?.getStore() ?? this.#running;
    if (call === undefined) throw new UsageError('ERR_TENDRIL_NO_CALL', 'currentCall() was used outside of a remote call; use it in a function that context.call() runs');
    return call;
  }
}
