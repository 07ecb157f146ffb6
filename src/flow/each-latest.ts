import type { OperatorFunction } from 'rxjs';
import { lifted } from '../core/mailbox/guarded-observable.ts';
import { run } from './incoming.ts';
import type { Projected } from './incoming.ts';

/**
 * The policy "the latest value": calls `project` for one value after another, and emits what it gives. While it is under way
 * the newest value waits, and takes the place of the one that waited before. The producer is never held back. The last value
 * is always among those that are worked on.
 */
export function eachLatest<T, R>(project: (value: T) => Projected<R>): OperatorFunction<T, R> {
  return (source) =>
    lifted<T, R>(source, (from, subscriber) => {
      let waiting: { readonly value: T } | undefined;
      let running = false;
      let completed = false;
      let pumping = false;
      const pump = (): void => {
        if (pumping) return;
        pumping = true;
        while (!running && waiting && !subscriber.closed) {
          const { value } = waiting;
          waiting = undefined;
          running = true;
          run(() => project(value), subscriber, () => {
            running = false;
            pump();
          });
        }
        pumping = false;
        if (completed && !running && !waiting) subscriber.complete();
      };
      return from.subscribe({
        next: (value) => {
          waiting = { value };
          pump();
        },
        error: (error: unknown) => {
          subscriber.error(error);
        },
        complete: () => {
          completed = true;
          pump();
        },
      });
    });
}
