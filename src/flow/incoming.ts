import { from, isObservable, map, of } from 'rxjs';
import type { Observable, Subscriber } from 'rxjs';
import type { Delivery, RemoteStream } from '../core/call/remote-stream.ts';
import { TendrilError } from '../core/errors.ts';

/** What a function makes of a value: a result, a promise of one, or any number of them. */
export type Projected<R> = R | PromiseLike<R> | Observable<R>;

/** Values that may wait here when their source cannot be held back, unless an option says otherwise. */
export const DEFAULT_BUFFER = 1024;

const NOTHING = (): void => undefined;

/** The values of a source with their credit, where it has any. */
export interface Incoming<T> {
  readonly deliveries: Observable<Delivery<T>>;
  /** How many may wait; what has credit waits without a limit of ours, because its producer stops. */
  readonly most: number;
}

/** @param size - how many values may wait here; undefined for a window, or {@link DEFAULT_BUFFER} */
export function incoming<T>(source: Observable<T>, size: number | undefined): Incoming<T> {
  if (isRemote(source)) return { deliveries: (size === undefined ? source : source.windowed({ values: size })).deliveries(), most: Infinity };
  return { deliveries: source.pipe(map((value) => ({ value, done: NOTHING }))), most: size ?? DEFAULT_BUFFER };
}

function isRemote<T>(source: Observable<T>): source is RemoteStream<T> {
  return 'deliveries' in source && 'windowed' in source;
}

/** More waits than may wait. */
export function overflow(most: number): TendrilError {
  return new TendrilError('ERR_TENDRIL_OVERFLOW', `more than ${String(most)} values wait, and their source cannot be held back; be faster, choose a policy that leaves values out, or let more wait`);
}

/** Runs a projection: its results go to the subscriber, `ended` is called when it is over. An error ends the subscriber. */
export function run<R>(project: () => Projected<R>, subscriber: Subscriber<R>, ended: () => void): void {
  let result: Projected<R>;
  try {
    result = project();
  } catch (error) {
    subscriber.error(error);
    return;
  }
  subscriber.add(
    observed(result).subscribe({
      next: (value) => {
        subscriber.next(value);
      },
      error: (error: unknown) => {
        subscriber.error(error);
      },
      complete: ended,
    }),
  );
}

function observed<R>(result: Projected<R>): Observable<R> {
  if (isObservable(result)) return result;
  return isPromiseLike(result) ? from(result) : of(result);
}

function isPromiseLike<R>(value: R | PromiseLike<R>): value is PromiseLike<R> {
  return typeof (value as PromiseLike<R> | null | undefined)?.then === 'function';
}
