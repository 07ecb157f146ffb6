import { asyncScheduler } from 'rxjs';
import type { OperatorFunction, SchedulerLike, Subscription } from 'rxjs';
import type { Delivery } from '../core/call/remote-stream.ts';
import { lifted } from '../core/mailbox/guarded-observable.ts';
import { DEFAULT_BUFFER, incoming, overflow, run } from './incoming.ts';
import type { Projected } from './incoming.ts';

/** Options of {@link eachBatch}. */
export interface EachBatchOptions {
  /** Values of a full batch. Default 100. */
  readonly size?: number;
  /** Milliseconds after its first value when a batch is worked on though it is not full. Default: when it is full, or the last. */
  readonly ms?: number;
  /** The clock of `ms`. Default: RxJS's `asyncScheduler`; a broker is one too. */
  readonly scheduler?: SchedulerLike;
}

/**
 * The policy "many at a time": calls `project` for batches, one after another, and emits what it gives. A remote producer is
 * held back while one batch is worked on and the next one is full. Another source cannot be held back; when a full batch and
 * 1,024 more values wait, the result errors with ERR_TENDRIL_OVERFLOW.
 */
export function eachBatch<T, R>(project: (batch: readonly T[]) => Projected<R>, { size = 100, ms, scheduler = asyncScheduler }: EachBatchOptions = {}): OperatorFunction<T, R> {
  return (source) =>
    lifted<T, R>(source, (from, subscriber) => {
      const { deliveries, most } = incoming(from, undefined);
      let batch: T[] = [];
      /** What has no room in the batch, and keeps its credit. */
      const behind: Delivery<T>[] = [];
      let running = false;
      let due = false;
      let completed = false;
      let timer: Subscription | undefined;
      const stopTimer = (): void => {
        timer?.unsubscribe();
        timer = undefined;
      };
      const fill = (): void => {
        while (batch.length < size && behind.length > 0) {
          const next = behind.shift();
          if (next === undefined) return;
          batch.push(next.value);
          if (ms !== undefined && !due) {
            timer ??= scheduler.schedule(() => {
              due = true;
              pump();
            }, ms);
          }
          // Now that it is in the batch: a producer in this process goes on before this returns.
          next.done();
        }
      };
      let pumping = false;
      const pump = (): void => {
        if (pumping) return;
        pumping = true;
        fill();
        while (!running && batch.length > 0 && (batch.length >= size || due || completed) && !subscriber.closed) {
          const full = batch;
          batch = [];
          due = false;
          stopTimer();
          running = true;
          run(() => project(full), subscriber, () => {
            running = false;
            pump();
          });
          fill();
        }
        pumping = false;
        if (completed && !running && batch.length === 0) subscriber.complete();
      };
      subscriber.add(stopTimer);
      return deliveries.subscribe({
        next: (delivery) => {
          behind.push(delivery);
          pump();
          if (behind.length > Math.max(most, DEFAULT_BUFFER)) subscriber.error(overflow(most));
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
