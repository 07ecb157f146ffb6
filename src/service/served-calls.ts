import { AsyncLocalStorage } from 'node:async_hooks';
import { CallTracker } from '../core/call/current-call.ts';
import type { CurrentCall } from '../core/call/current-call.ts';

/** Follows calls of the services that this process serves itself, through their asynchronous work; a child's are the core's. */
class ServedCalls extends CallTracker {
  #storage: AsyncLocalStorage<CurrentCall> | undefined;

  override enable(): void {
    this.#storage ??= new AsyncLocalStorage();
  }

  /** Whether anything has been served in this process. */
  get enabled(): boolean {
    return this.#storage !== undefined;
  }

  override run<R>(call: CurrentCall, work: () => R): R {
    return this.#storage ? this.#storage.run(call, work) : work();
  }

  /** The call that the running code belongs to, if any: asked for each call that is made. */
  find(): CurrentCall | undefined {
    return this.#storage?.getStore();
  }

  override current(): CurrentCall {
    return this.find() ?? super.current();
  }
}

export const servedCalls: ServedCalls = new ServedCalls();
