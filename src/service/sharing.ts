import type { CurrentCall } from '../core/call/current-call.ts';
import type { Deduplication } from '../core/call/types.ts';
import { isStream } from './life.ts';
import type { Life } from './life.ts';

/** Results of a method that are kept; the oldest go first. */
const MAX_KEPT = 1024;
/** Characters of a key whose result is kept. */
const MAX_KEY = 1024;

/** One computation, for all who ask for it. It is the current call of the method that computes. */
class Shared implements CurrentCall, Life {
  readonly callerId: number;
  /** Those who wait have their own. */
  readonly deadline = undefined;
  readonly #abort = new AbortController();
  readonly #atEnd: (() => void)[] = [];
  waiters = 0;
  over = false;
  result: Promise<unknown> = Promise.resolve();
  /** Until when it serves others, once it is over. */
  until = 0;

  constructor(callerId: number) {
    this.callerId = callerId;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  then(work: () => void): void {
    if (this.over) work();
    else this.#atEnd.push(work);
  }

  end(): void {
    this.over = true;
    for (const work of this.#atEnd.splice(0)) work();
  }

  /** Nobody wants it any more. */
  abandon(): void {
    this.#abort.abort();
    this.end();
  }
}

/** Makes one computation of the calls that have the same key (Mitogen's DeduplicatingInvoker). */
export class Sharing {
  readonly #options: Deduplication;
  readonly #now: () => number;
  readonly #noStream: () => Error;
  readonly #shared = new Map<string | number, Shared>();

  /** @param noStream - makes the error for a result that is a stream, which cannot be shared */
  constructor(options: Deduplication, now: () => number, noStream: () => Error) {
    this.#options = options;
    this.#now = now;
    this.#noStream = noStream;
  }

  /** Results that are kept, or computed. */
  get size(): number {
    return this.#shared.size;
  }

  /** The result of the computation with this key, which begins now unless it is under way or its result is kept. */
  join(key: string | number, call: CurrentCall & Life, compute: (shared: CurrentCall & Life) => unknown): Promise<unknown> {
    const known = this.#shared.get(key);
    const shared = known !== undefined && (!known.over || known.until > this.#now()) ? known : this.#begin(key, call.callerId, compute);
    if (shared.over) return shared.result;
    shared.waiters++;
    return new Promise((resolve, reject) => {
      shared.result.then(resolve, reject);
      call.then(() => {
        reject(new Error('the call was cancelled'));
        if (--shared.waiters > 0 || shared.over) return;
        this.#forget(key, shared);
        shared.abandon();
      });
    });
  }

  #begin(key: string | number, callerId: number, compute: (shared: CurrentCall & Life) => unknown): Shared {
    const shared = new Shared(callerId);
    this.#shared.delete(key);
    this.#shared.set(key, shared);
    shared.result = new Promise((resolve) => {
      resolve(compute(shared));
    }).then((value) => {
      if (isStream(value)) throw this.#noStream();
      return value;
    });
    shared.result.then(
      () => {
        this.#settle(key, shared, this.#options.keep);
      },
      () => {
        this.#settle(key, shared, this.#options.keepErrors);
      },
    );
    return shared;
  }

  #settle(key: string | number, shared: Shared, keep: number | true = 0): void {
    if (shared.over) return;
    shared.end();
    if (keep === 0 || String(key).length > MAX_KEY) {
      this.#forget(key, shared);
      return;
    }
    shared.until = keep === true ? Infinity : this.#now() + keep;
    if (this.#shared.size <= MAX_KEPT) return;
    const [oldest] = [...this.#shared].find(([, other]) => other.over) ?? [];
    if (oldest !== undefined) this.#shared.delete(oldest);
  }

  #forget(key: string | number, shared: Shared): void {
    if (this.#shared.get(key) === shared) this.#shared.delete(key);
  }
}
