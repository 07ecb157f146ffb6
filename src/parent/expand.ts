import { RemoteStream } from '../core/call/remote-stream.ts';
import type { Delivery } from '../core/call/remote-stream.ts';
import type { Report } from '../core/mailbox/guarded-observable.ts';

/** What becomes of the values of a stream, for one who consumes it. */
export interface Expansion<T, U> {
  /** What a value becomes: any number of values. */
  each(value: T): readonly U[];
  /** What comes behind the last one. */
  end(): readonly U[];
}

/** A stream of what becomes of the values of another; its credit goes back when all that a value became is dealt with. */
export function expand<T, U>(source: RemoteStream<T>, report: Report, where: string, begin: () => Expansion<T, U>, mend: (error: unknown) => unknown = (error) => error): RemoteStream<U> {
  return new RemoteStream<U>(report, where, (subscriber, manual, [values, bytes]) => {
    const windowed = source.windowed({ values, bytes });
    const expansion = begin();
    const guard = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        subscriber.error(mend(error));
      }
    };
    const give = (some: readonly U[], from?: Delivery<T>): void => {
      if (manual) for (const delivery of shared(some, from)) subscriber.next(delivery);
      else for (const value of some) subscriber.next(value);
    };
    const ends = {
      error: (error: unknown) => {
        subscriber.error(mend(error));
      },
      complete: () => {
        guard(() => {
          give(expansion.end());
          subscriber.complete();
        });
      },
    };
    const take = (value: T, from?: Delivery<T>): void => {
      guard(() => {
        give(expansion.each(value), from);
      });
    };
    if (!manual) return windowed.subscribe({ next: (value) => { take(value); }, ...ends });
    return windowed.deliveries().subscribe({ next: (delivery) => { take(delivery.value, delivery); }, ...ends });
  });
}

/** Values that came in one. */
function shared<T>(values: readonly T[], from: Delivery<unknown> | undefined): Delivery<T>[] {
  let left = values.length;
  if (left === 0) from?.done();
  return values.map((value) => {
    let given = false;
    return {
      value,
      done: () => {
        if (given) return;
        given = true;
        if (--left === 0) from?.done();
      },
    };
  });
}
