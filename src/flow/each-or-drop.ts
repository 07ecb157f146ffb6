import type { Observer, OperatorFunction } from 'rxjs';
import { lifted } from '../core/mailbox/guarded-observable.ts';
import { run } from './incoming.ts';
import type { Projected } from './incoming.ts';

/** Options of {@link eachOrDrop}. */
export interface EachOrDropOptions {
  /** How many values are worked on at a time. Default 1. */
  readonly concurrency?: number;
  /** Is told how many values have been dropped so far, each time that one is. */
  readonly dropped?: Pick<Observer<number>, 'next'> | ((count: number) => void);
}

/**
 * The policy "what there is time for": calls `project` for a value when there is room for it, and drops the value otherwise,
 * which is counted. Emits what `project` gives. The producer is never held back.
 */
export function eachOrDrop<T, R>(project: (value: T) => Projected<R>, { concurrency = 1, dropped }: EachOrDropOptions = {}): OperatorFunction<T, R> {
  return (source) =>
    lifted<T, R>(source, (from, subscriber) => {
      let running = 0;
      let count = 0;
      let completed = false;
      const drop = (): void => {
        count++;
        if (typeof dropped === 'function') dropped(count);
        else dropped?.next(count);
      };
      return from.subscribe({
        next: (value) => {
          if (running >= concurrency) {
            drop();
            return;
          }
          running++;
          run(() => project(value), subscriber, () => {
            running--;
            if (completed && running === 0) subscriber.complete();
          });
        },
        error: (error: unknown) => {
          subscriber.error(error);
        },
        complete: () => {
          completed = true;
          if (running === 0) subscriber.complete();
        },
      });
    });
}
