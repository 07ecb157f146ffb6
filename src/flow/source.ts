import { from } from 'rxjs';
import type { Observable, Subscriber, Unsubscribable } from 'rxjs';
import type { Delivery } from '../core/call/remote-stream.ts';

/** What a stream can be made of. A Readable of Node is an async iterable. */
export type Source<T> = AsyncIterable<T> | Observable<T>;

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
