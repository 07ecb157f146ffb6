import { Subscription } from 'rxjs';
import type { MonoTypeOperatorFunction, Observable } from 'rxjs';
import type { Delivery } from '../core/call/remote-stream.ts';
import { lifted } from '../core/mailbox/guarded-observable.ts';
import { incoming, overflow } from './incoming.ts';

/** Options of {@link onDemand}. */
export interface OnDemandOptions {
  /** How many values may wait to be asked for. Default: a window (256) of a remote stream; 1,024 of other sources. */
  readonly size?: number;
}

/**
 * The policy "on demand": passes on as many values as are asked for. Each number that `demand` emits asks for so many more.
 * A remote producer is held back beyond the window that waits here; of another source no more than `size` values may wait,
 * or the result errors with ERR_TENDRIL_OVERFLOW. The end of `demand` ends nothing; its error is the result's.
 */
export function onDemand<T>(demand: Observable<number>, { size }: OnDemandOptions = {}): MonoTypeOperatorFunction<T> {
  return (source) =>
    lifted<T, T>(source, (from, subscriber) => {
      const { deliveries, most } = incoming(from, size);
      const waiting: Delivery<T>[] = [];
      let wanted = 0;
      let completed = false;
      let pumping = false;
      const error = (thrown: unknown): void => {
        subscriber.error(thrown);
      };
      const pump = (): void => {
        if (pumping) return;
        pumping = true;
        for (let next = waiting[0]; next !== undefined && wanted > 0 && !subscriber.closed; next = waiting[0]) {
          waiting.shift();
          wanted--;
          subscriber.next(next.value);
          next.done();
        }
        pumping = false;
        if (completed && waiting.length === 0) subscriber.complete();
      };
      const subscription = new Subscription();
      subscription.add(
        demand.subscribe({
          next: (count) => {
            wanted += count;
            pump();
          },
          error,
        }),
      );
      subscription.add(
        deliveries.subscribe({
          next: (delivery) => {
            waiting.push(delivery);
            pump();
            if (waiting.length > most) subscriber.error(overflow(most));
          },
          error,
          complete: () => {
            completed = true;
            pump();
          },
        }),
      );
      return subscription;
    });
}
