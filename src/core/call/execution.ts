import type { Subscription } from 'rxjs';
import type { Broker } from '../broker/broker.ts';
import { TendrilError } from '../errors.ts';
import { errorContent } from '../wire/call-error.ts';
import type { ErrorContent } from '../wire/call-error.ts';
import type { Encoded } from '../wire/values.ts';
import { CreditWindow } from './credit.ts';
import type { CallTracker, CurrentCall } from './current-call.ts';
import { REPLY_NEXT, REPLY_RESULT, WINDOW_BYTES, WINDOW_VALUES } from './protocol.ts';
import type { FunctionRef } from './protocol.ts';
import type { WindowSize } from './remote-stream.ts';
import type { ReplyPath } from './reply-path.ts';

/** Finds the function of a call; may have to wait for its module. Throws when there is no such function. `bytes` is the length of the message. */
export type ResolveFunction = (ref: FunctionRef, execution: Execution, bytes: number) => ((...args: unknown[]) => unknown) | PromiseLike<(...args: unknown[]) => unknown>;

/** Who started an execution. */
export interface ExecutionOwner {
  /** It has ended. */
  over(execution: Execution): void;
  /** User code has asynchronous work under way; the result is called when that has ended. */
  hold(): () => void;
}

/** What is stopped when a call is cancelled, and resumed when there is credit again. */
interface Source {
  stop(): void;
  resume?(): void;
}

/** One function that runs. It is the CurrentCall of that function too. */
export class Execution implements CurrentCall {
  readonly callerId: number;
  deadline: number | undefined;
  #timer: Subscription | undefined;
  readonly #reply: ReplyPath;
  readonly #owner: ExecutionOwner;
  readonly #windowSize: WindowSize;
  #tracker: Pick<CallTracker, 'run'> | undefined;
  /** Only streams need one. */
  #window: CreditWindow<Encoded> | undefined;
  #abort: AbortController | undefined;
  #source: Source | undefined;
  ended = false;
  #error: ErrorContent | undefined;
  #cancelled = false;
  /** The end of a stream whose last values still wait for credit: an error, or null for completion. */
  #closing: ErrorContent | null | undefined;
  #followers: ((error: ErrorContent | undefined) => void)[] | undefined;

  constructor(reply: ReplyPath, callerId: number, owner: ExecutionOwner, windowSize: WindowSize = [WINDOW_VALUES, WINDOW_BYTES]) {
    this.#windowSize = windowSize;
    this.#reply = reply;
    this.callerId = callerId;
    this.#owner = owner;
  }

  get key(): number {
    return this.#reply.key;
  }

  /** Made when it is asked for: most functions never ask, and a controller costs more than a small call. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#cancelled) this.#abort.abort();
    return this.#abort.signal;
  }

  run(tracker: Pick<CallTracker, 'run'>, resolve: () => ReturnType<ResolveFunction>, args: readonly unknown[]): void {
    this.#tracker = tracker;
    const apply = (fn: (...args: unknown[]) => unknown): void => {
      if (!this.ended) this.#take(this.#within(() => fn(...args)));
    };
    this.#attempt(() => {
      const fn = resolve();
      if (typeof fn === 'function') apply(fn);
      else fn.then((found) => { this.#attempt(() => { apply(found); }); }, (error: unknown) => { this.#fail(error); });
    });
  }

  /** Ends it in so many milliseconds. The caller knows by itself. */
  expire(broker: Broker, ms: number): void {
    this.deadline = broker.now() + ms;
    this.#timer = broker.after(ms, () => { this.cancel(); });
  }

  /** Runs `work` when this execution has ended, with its error if it failed. */
  then(work: (error: ErrorContent | undefined) => void): void {
    if (this.ended) work(this.#error);
    else (this.#followers ??= []).push(work);
  }

  cancel(): void {
    if (this.ended || this.#cancelled) return;
    this.#cancelled = true;
    this.#abort?.abort();
    this.#end(['AbortError', 'the call was cancelled', '', 'ABORT_ERR', null]);
  }

  grant(values: unknown, bytes: unknown): void {
    const window = this.#window;
    if (window === undefined || this.ended) return;
    if (!window.grant(values, bytes)) {
      this.reject(errorContent(new TendrilError('ERR_TENDRIL_CREDIT', 'the consumer has acknowledged more than it was sent')));
      return;
    }
    if (window.open) this.#source?.resume?.();
    if (this.#closing !== undefined) this.#close(this.#closing);
  }

  reject(error: ErrorContent): void {
    if (this.ended) return;
    this.#reply.error(error);
    this.#end(error);
  }

  #fail(thrown: unknown): void {
    if (!this.ended) this.#close(errorContent(thrown));
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Runs code of the user's, which can ask for its call. */
  #within<R>(work: () => R): R {
    return this.#tracker ? this.#tracker.run(this, work) : work();
  }

  /** What a function returned becomes replies. */
  #take(value: unknown): void {
    if (this.ended) return;
    if (typeof value !== 'object' || value === null) this.#result(value);
    else if (typeof (value as PromiseLike<unknown>).then === 'function') {
      const release = this.#owner.hold();
      (value as PromiseLike<unknown>).then(
        (settled) => {
          release();
          this.#attempt(() => {
            this.#take(settled);
          });
        },
        (error: unknown) => {
          release();
          this.#fail(error);
        },
      );
      // What can be paused is, also where it is an observable too.
    } else if (Symbol.asyncIterator in value) this.#iterate(value as PausableSource);
    else if (isObservable(value)) this.#within(() => { this.#observe(value); });
    else this.#result(value);
  }

  #result(value: unknown): void {
    this.#reply.send(this.#reply.encode(REPLY_RESULT, value));
    this.#end(undefined);
  }

  #next(value: unknown): void {
    if (this.ended || this.#closing !== undefined) return;
    const encoded = this.#reply.encode(REPLY_NEXT, value);
    let bytes = encoded.data.length;
    for (const part of encoded.tail ?? []) bytes += part.length;
    // The codec's scratch memory is not used again for this message, so it can wait as it is.
    this.#window ??= new CreditWindow((waiting) => {
      this.#reply.send(waiting);
    }, this.#windowSize);
    if (!this.#window.offer(encoded, bytes)) throw new TendrilError('ERR_TENDRIL_OVERFLOW', 'the caller consumes more slowly than the observable emits, and too many values wait; return an async iterable, which is paused, or emit less');
  }

  /** Ends the stream behind its last value. */
  #close(error: ErrorContent | null): void {
    // The first end counts: a source that overflowed may still complete.
    error = this.#closing ??= error;
    if (error) this.#source?.stop();
    if (this.#window !== undefined && this.#window.waiting > 0) return;
    if (error) this.reject(error);
    else {
      this.#reply.complete();
      this.#end(undefined);
    }
  }

  #observe(observable: ObservableLike): void {
    const subscription = observable.subscribe({
      next: (value: unknown) => {
        this.#attempt(() => {
          this.#next(value);
        });
      },
      error: (error: unknown) => {
        this.#fail(error);
      },
      complete: () => {
        if (!this.ended) this.#close(null);
      },
    });
    this.#source = {
      stop: () => {
        subscription.unsubscribe();
      },
    };
    // It may have come to its end before there was a subscription to stop.
    if (this.ended || this.#closing) subscription.unsubscribe();
  }

  #iterate(iterable: PausableSource): void {
    const iterator = iterable[Symbol.asyncIterator]();
    let pulling = false;
    const pull = (): void => {
      if (pulling || this.ended || this.#window?.open === false) return;
      pulling = true;
      this.#within(() => iterator.next()).then(
        (step) => {
          pulling = false;
          this.#attempt(() => {
            if (this.ended) return;
            if (step.done === true) this.#close(null);
            else this.#next(step.value);
          });
          pull();
        },
        (error: unknown) => {
          this.#fail(error);
        },
      );
    };
    this.#source = {
      resume: pull,
      stop: () => {
        // A generator's finally blocks run; what they throw after a cancel interests nobody.
        const release = this.#owner.hold();
        (iterator.return?.() ?? Promise.resolve()).then(release, release);
        // A Readable that waits for data hears of the end in no other way.
        iterable.destroy?.();
      },
    };
    pull();
  }

  #end(error: ErrorContent | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.#timer?.unsubscribe();
    this.#error = error;
    if (error) {
      try {
        this.#source?.stop();
      } catch (thrown) {
        this.#reply.fault(thrown);
      }
    }
    this.#source = undefined;
    this.#owner.over(this);
    for (const follower of this.#followers ?? []) follower(error);
    this.#followers = undefined;
  }
}

/** An async iterable, such as a generator or a Readable. */
interface PausableSource extends AsyncIterable<unknown> {
  destroy?(): void;
}

interface ObservableLike {
  subscribe(observer: { next(value: unknown): void; error(error: unknown): void; complete(): void }): { unsubscribe(): void };
}

/** An Observable of this or any other copy of RxJS. */
function isObservable(value: object): value is ObservableLike {
  const candidate = value as { subscribe?: unknown; pipe?: unknown };
  return typeof candidate.subscribe === 'function' && (typeof candidate.pipe === 'function' || Symbol.for('observable') in value || '@@observable' in value);
}
