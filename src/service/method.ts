import type { CallTracker, CurrentCall } from '../core/call/current-call.ts';
import type { MethodOptions, ServiceCaller } from '../core/call/types.ts';
import { watched } from './life.ts';
import type { Life, ServiceCall } from './life.ts';
import { Sharing } from './sharing.ts';
import { Slots } from './slots.ts';

/** Calls of a method, or of a service, that wait, unless it says otherwise. */
export const DEFAULT_QUEUE = 1024;

/** What methods need of the pool. */
export interface MethodHost {
  readonly tracker: CallTracker;
  now(): number;
  report(error: unknown, where: string): void;
  error(code: string, message: string): Error;
}

/** A method of a service that runs. */
export class Method {
  readonly #host: MethodHost;
  readonly #label: string;
  readonly #options: MethodOptions;
  readonly #apply: (args: readonly unknown[]) => unknown;
  /** Where a call must have a slot before it runs: none where nothing is limited. */
  readonly #slots: readonly Slots[];
  readonly #sharing: Sharing | undefined;
  #reported = false;

  constructor(host: MethodHost, label: string, options: MethodOptions, ofService: Slots | undefined, apply: (args: readonly unknown[]) => unknown) {
    this.#host = host;
    this.#label = label;
    this.#options = options;
    this.#apply = apply;
    const own = slotsOf(host, label, options);
    this.#slots = [own, ofService].filter((slots) => slots !== undefined);
    const { dedupe } = options;
    const deduplication = typeof dedupe === 'function' ? { key: dedupe } : dedupe;
    this.#sharing = deduplication && new Sharing(deduplication, () => host.now(), () => host.error('ERR_TENDRIL_BAD_SERVICE', `${label} gave a stream, which calls cannot share; take dedupe from it, or have it give one value`));
  }

  /** Throws unless every policy of the method admits the caller. */
  admit(caller: ServiceCaller): void {
    const { policy = [] } = this.#options;
    const policies = typeof policy === 'function' ? [policy] : policy;
    if (policies.length > 0 && policies.every((one) => this.#ask(() => one(caller)) === true)) return;
    throw this.#host.error('ERR_TENDRIL_SERVICE_REFUSED', `${this.#label} is not for context ${String(caller.id)}, by the policy of the service`);
  }

  /** Throws unless the arguments are as they should be. */
  check(args: readonly unknown[]): void {
    const { check } = this.#options;
    if (check === undefined) return;
    let why = '';
    try {
      if (Reflect.apply(check, undefined, args) !== false) return;
    } catch (error) {
      why = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    throw this.#host.error('ERR_TENDRIL_SERVICE_ARGUMENTS', `${this.#label} does not take these arguments${why}`);
  }

  run(execution: ServiceCall, args: readonly unknown[]): unknown {
    const sharing = this.#sharing;
    if (sharing === undefined) return this.#slots.length === 0 ? this.#apply(args) : this.#limited(execution, args, 0);
    const { dedupe } = this.#options;
    const key = Reflect.apply(typeof dedupe === 'function' ? dedupe : (dedupe?.key ?? String), undefined, args) as string | number;
    return sharing.join(key, execution, (shared) => this.#limited(shared, args, 0));
  }

  /** Runs when it has all slots from the one at `index` on. */
  #limited(call: CurrentCall & Life, args: readonly unknown[], index: number): unknown {
    const slots = this.#slots[index];
    // It may have waited, or be shared: then the call that runs is another than where this comes from.
    if (slots === undefined) return this.#host.tracker.run(call, () => this.#apply(args));
    const run = (): unknown => watched(call, () => { slots.release(); }, () => this.#limited(call, args, index + 1));
    const taken = slots.take(call);
    if (taken === true) return run();
    return taken.then(() => {
      const ends: true[] = [];
      call.then(() => {
        ends.push(true);
      });
      if (ends.length === 0) return run();
      slots.release();
      return undefined;
    });
  }

  #ask(policy: () => unknown): unknown {
    try {
      return policy();
    } catch (error) {
      // Once: callers must not fill the log.
      if (!this.#reported) this.#host.report(error, `policy of ${this.#label}`);
      this.#reported = true;
      return false;
    }
  }
}

/** What a limit comes to; undefined for none. */
export function slotsOf(host: MethodHost, label: string, { concurrency, queue = DEFAULT_QUEUE }: { readonly concurrency?: number; readonly queue?: number }): Slots | undefined {
  const bad = (name: string, rule: string, value: unknown): never => {
    throw host.error('ERR_TENDRIL_BAD_SERVICE', `${name} of ${label} must be ${rule}, got ${String(value)}`);
  };
  if (!(Number.isInteger(queue) && queue >= 0)) bad('queue', 'a whole number from 0', queue);
  if (concurrency === undefined) return undefined;
  if (!(Number.isInteger(concurrency) && concurrency >= 1)) bad('concurrency', 'a whole number from 1', concurrency);
  return new Slots(concurrency, queue, () => host.error('ERR_TENDRIL_SERVICE_BUSY', `${label} has ${String(concurrency)} calls under way and ${String(queue)} that wait, and takes no more; try again later`));
}
