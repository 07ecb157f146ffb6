import { Observable, Subscriber } from 'rxjs';
import type { Observer, Operator, Subscription, TeardownLogic } from 'rxjs';

/** Takes an error that no caller waits for. */
export type Report = (error: unknown, where: string) => void;

type Next<T> = ((value: T) => void) | null | undefined;

/**
 * An Observable whose subscribers harm only themselves: when one throws, it is unsubscribed and its error is reported,
 * where plain RxJS 7 would raise an `uncaughtException` and go on calling it. Operators applied with `pipe` keep the guard.
 */
// RxJS asks not to subclass; `lift` is the one seam by which an Observable passes its kind on through `pipe`.
// eslint-disable-next-line rxjs-x/no-subclass
export class GuardedObservable<T> extends Observable<T> {
  readonly #report: Report;
  readonly #where: string;

  constructor(report: Report, where: string, subscribe?: (this: Observable<T>, subscriber: Subscriber<T>) => TeardownLogic) {
    super(subscribe);
    this.#report = report;
    this.#where = where;
  }

  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = new GuardedObservable<R>(this.#report, this.#where);
    lifted.source = this;
    lifted.operator = operator as Operator<unknown, R>;
    return lifted;
  }

  override subscribe(observerOrNext?: Partial<Observer<T>> | Next<T>, error?: ((error: unknown) => void) | null, complete?: (() => void) | null): Subscription {
    // An operator's own subscriber: the guard is at the end of the chain.
    if (observerOrNext instanceof Subscriber) return super.subscribe(observerOrNext);
    const observer: Partial<Observer<T>> = typeof observerOrNext === 'function' || !observerOrNext ? handlers(observerOrNext, error, complete) : observerOrNext;
    const guard = (call: () => void): void => {
      try {
        call();
      } catch (thrown) {
        guarded.unsubscribe();
        this.#report(thrown, this.#where);
      }
    };
    // Not an observer object: RxJS would catch its throws before we do and raise them as uncaught exceptions.
    const guarded: Subscriber<T> = new Subscriber<T>({
      next: (value) => {
        guard(() => observer.next?.(value));
      },
      // Without a handler an error must stay as loud as RxJS makes it.
      error: (thrown: unknown) => {
        if (observer.error) guard(() => observer.error?.(thrown));
        else throwLater(thrown);
      },
      complete: () => {
        guard(() => observer.complete?.());
      },
    });
    return super.subscribe(guarded);
  }
}

function handlers<T>(next: Next<T>, error: ((error: unknown) => void) | null | undefined, complete: (() => void) | null | undefined): Partial<Observer<T>> {
  return { ...(next && { next }), ...(error && { error }), ...(complete && { complete }) };
}

function throwLater(thrown: unknown): void {
  queueMicrotask(() => {
    throw thrown;
  });
}
