import { from, isObservable } from 'rxjs';
import type { Observable, Subscriber, Unsubscribable } from 'rxjs';
import type { Delivery } from '../core/call/remote-stream.ts';
import { UsageError } from '../core/errors.ts';

/** What the values of a stream come from. */
export type Source<T> = AsyncIterable<T> | Observable<T>;

/** What a stream can be made of. A Readable of Node is an async iterable. */
export type StreamInput<T> = Source<T> | Iterable<T>;

/** Makes a source of what was given. Throws a UsageError when it is none. */
export function sourceOf<T>(input: StreamInput<T>): Source<T> {
  // Users of JavaScript may give anything.
  if (typeof input === 'object' && (input as unknown) !== null && !ArrayBuffer.isView(input)) {
    if (Symbol.asyncIterator in input || isObservable(input)) return input;
    if (Symbol.iterator in input) return oneByOne(input);
  }
  throw new UsageError('ERR_TENDRIL_BAD_OPTION', 'stream() takes an async iterable such as a generator or a Readable, an Observable, or an iterable such as an array; put bytes and texts into one');
}

async function* oneByOne<T>(values: Iterable<T>): AsyncGenerator<T, undefined> {
  for (const value of values) yield await Promise.resolve(value);
  return undefined;
}

interface NodeStream {
  destroy(): void;
  on(event: 'error', listener: () => void): unknown;
}

/** A stream of Node that fails before anyone reads it ends the process, unless someone listens; its iterator fails later. */
export function quiet(source: object): void {
  if ('destroy' in source && 'on' in source) (source as NodeStream).on('error', () => undefined);
}

/** Ends a source that nobody has begun to read. */
export function release(source: object): void {
  if ('destroy' in source) (source as NodeStream).destroy();
  else if ('return' in source) void (source as AsyncGenerator).return(undefined).catch(() => undefined);
}

/** Consumes a source in the process where it is. */
export function consume(source: Source<unknown>, subscriber: Subscriber<unknown>, manual: boolean): Unsubscribable {
  if (!manual) return from(source).subscribe(subscriber);
  if (Symbol.asyncIterator in source) return deliver(source, subscriber);
  return source.subscribe({
    next: (value) => {
      subscriber.next({ value, done: () => undefined } satisfies Delivery<unknown>);
    },
    error: (error: unknown) => {
      subscriber.error(error);
    },
    complete: () => {
      subscriber.complete();
    },
  });
}

/** Gives one value after another: the next is asked for when the one before is done. */
function deliver(source: AsyncIterable<unknown>, subscriber: Subscriber<unknown>): Unsubscribable {
  const iterator = source[Symbol.asyncIterator]();
  const pull = (): void => {
    iterator.next().then(
      (step) => {
        if (subscriber.closed) return;
        if (step.done === true) {
          subscriber.complete();
          return;
        }
        let done = false;
        subscriber.next({
          value: step.value,
          done: () => {
            if (!done && !subscriber.closed) pull();
            done = true;
          },
        } satisfies Delivery<unknown>);
      },
      (error: unknown) => {
        subscriber.error(error);
      },
    );
  };
  pull();
  return {
    unsubscribe: () => {
      iterator.return?.().catch(() => undefined);
      if ('destroy' in source) release(source);
    },
  };
}
