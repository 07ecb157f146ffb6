import type { OperatorFunction } from 'rxjs';
import type { Delivery } from '../core/call/remote-stream.ts';
import { lifted } from '../core/mailbox/guarded-observable.ts';
import { incoming, overflow, run } from './incoming.ts';
import type { Projected } from './incoming.ts';

/** Options of {@link eachBuffered}. */
export interface EachBufferedOptions {
  /** How many values are worked on at a time. Default 1, which keeps their order. */
  readonly concurrency?: number;
  /** How many values wait or are worked on. Default: a window (256) of a remote stream; 1,024 of other sources. */
  readonly size?: number;
}

/**
 * The policy "every value": calls `project` for each, and emits what it gives. A remote producer is held back while enough
 * waits: a value's credit goes back when its projection is over. Another source cannot be held back; when more than `size`
 * values wait, the result errors with ERR_TENDRIL_OVERFLOW.
 */
export function eachBuffered<T, R>(project: (value: T) => Projected<R>, { concurrency = 1, size }: EachBufferedOptions = {}): OperatorFunction<T, R> {
  return (source) =>
    lifted<T, R>(source, (from, subscriber) => {
      const { deliveries, most } = incoming(from, size);
      const waiting: Delivery<T>[] = [];
      let running = 0;
      let completed = false;
      let pumping = false;
      const pump = (): void => {
        // A projection that is over at once comes back here; the loop below goes on for it.
        if (pumping) return;
        pumping = true;
        while (running < concurrency && waiting.length > 0 && !subscriber.closed) {
          const next = waiting.shift();
          if (next) begin(next);
        }
        pumping = false;
        if (completed && running === 0 && waiting.length === 0) subscriber.complete();
      };
      const begin = (delivery: Delivery<T>): void => {
        running++;
        run(() => project(delivery.value), subscriber, () => {
          running--;
          delivery.done();
          pump();
        });
      };
      return deliveries.subscribe({
        next: (delivery) => {
          waiting.push(delivery);
          pump();
          if (waiting.length + running > most) subscriber.error(overflow(most));
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
