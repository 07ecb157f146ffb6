import type { Observable, Subscriber, Unsubscribable } from 'rxjs';
import { GuardedObservable } from '../mailbox/guarded-observable.ts';
import type { Report } from '../mailbox/guarded-observable.ts';
import { WINDOW_BYTES, WINDOW_VALUES } from './protocol.ts';

/** How much of a stream may be under way that its consumer has not acknowledged. */
export interface Window {
  /** Values, 1 to 65,536. Default 256. */
  readonly values?: number;
  /** Bytes of their payloads, 1 to 64 MiB; one value may be under way however large it is. Default 4 MiB. */
  readonly bytes?: number;
}

/** The same with nothing left out, as it crosses the wire. */
export type WindowSize = readonly [values: number, bytes: number];

/** A value whose credit goes back to the producer when the consumer says so. */
export interface Delivery<T> {
  readonly value: T;
  /** The value is dealt with: another may come in its place. Again is nothing. */
  done(): void;
  /** @internal Nobody looks at bytes of the value any more: the memory in which they came may be used again. */
  release?(): void;
}

/** The kind of a stream, whichever copy of this library it is of. */
const BRAND: unique symbol = Symbol.for('tendril.stream') as never;

/** Most streams have this one. */
export const DEFAULT_WINDOW: WindowSize = [WINDOW_VALUES, WINDOW_BYTES];

/** Begins to consume; `manual`: the observer takes deliveries instead of values. */
export type Connect = (subscriber: Subscriber<unknown>, manual: boolean, window: WindowSize) => Unsubscribable | undefined;

/**
 * Values that a producer in another context sends, with credit: it sends on while no more than a {@link Window} of them is
 * under way, and generators and Readables are paused meanwhile (docs/streams.md).
 *
 * What counts as dealt with depends on how it is consumed. `subscribe`: a value whose `next()` has returned. `for await`:
 * a value when the next one is asked for. {@link RemoteStream.deliveries}: when `done()` is called.
 */
// RxJS asks not to subclass; its values must be Observables here as everywhere.
// eslint-disable-next-line rxjs-x/no-subclass
export class RemoteStream<T> extends GuardedObservable<T> implements AsyncIterable<T> {
  static {
    Reflect.defineProperty(this.prototype, BRAND, { value: true });
  }

  readonly #origin: readonly [report: Report, where: string, connect: Connect];
  readonly #window: Window | undefined;

  /** @internal */
  constructor(report: Report, where: string, connect: Connect, window?: Window) {
    super(report, where, (subscriber) => this.#connect(subscriber, false));
    this.#origin = [report, where, connect];
    this.#window = window;
  }

  #connect(subscriber: Subscriber<unknown>, manual: boolean): Unsubscribable | undefined {
    return this.#origin[2](subscriber, manual, this.#window ? sizeOf(this.#window) : DEFAULT_WINDOW);
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return (value as { [BRAND]?: true } | null | undefined)?.[BRAND] === true;
  }

  /** The same stream with another window; what is left out stays as it is. */
  windowed(window: Window): RemoteStream<T> {
    return new RemoteStream(...this.#origin, { ...this.#window, ...window });
  }

  /** The values with their credit, for those who are not done with a value when `next()` returns. */
  deliveries(): Observable<Delivery<T>> {
    const [report, where] = this.#origin;
    return new GuardedObservable<Delivery<T>>(report, where, (subscriber) => this.#connect(subscriber, true));
  }

  /** The values one by one: the next one is asked for when the one before is dealt with. Ends the stream when it is left. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined, undefined> {
    return iterate(this.deliveries());
  }
}

function sizeOf({ values = WINDOW_VALUES, bytes = WINDOW_BYTES }: Window): WindowSize {
  return [values, bytes];
}

type Result<T> = IteratorResult<T, undefined>;

/** By hand: an async generator would not hear of `return()` while it waits for a value. */
function iterate<T>(deliveries: Observable<Delivery<T>>): AsyncIterableIterator<T, undefined, undefined> {
  const arrived: Delivery<T>[] = [];
  const waiting: ((result: Result<T> | Promise<never>) => void)[] = [];
  const over: Result<T> = { done: true, value: undefined };
  let subscription: Unsubscribable | undefined;
  let given: Delivery<T> | undefined;
  /** What is given when nothing comes any more. */
  let end: (() => Result<T> | Promise<never>) | undefined;
  const give = (delivery?: Delivery<T>): void => {
    given?.done();
    given = delivery;
  };
  const serve = (): void => {
    while (waiting.length > 0 && (end !== undefined || arrived.length > 0)) {
      give(arrived.shift());
      waiting.shift()?.(given ? { done: false, value: given.value } : (end?.() ?? over));
    }
  };
  const complete = (): void => {
    end ??= () => over;
    serve();
  };
  return {
    next: () =>
      new Promise((resolve) => {
        give();
        waiting.push(resolve);
        if (end === undefined) {
          subscription ??= deliveries.subscribe({
            next: (delivery) => {
              arrived.push(delivery);
              serve();
            },
            error: (error: Error) => {
              end = () => {
                end = () => over;
                return Promise.reject(error);
              };
              serve();
            },
            complete,
          });
        }
        serve();
      }),
    return: () => {
      subscription?.unsubscribe();
      arrived.length = 0;
      end = undefined;
      complete();
      return Promise.resolve(over);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
