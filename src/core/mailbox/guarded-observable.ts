/* eslint-disable @typescript-eslint/no-deprecated -- `lift`, `source`, `operator` and Subscriber are the only seams that RxJS 7 has for an Observable that stays its own kind through `pipe`; RxJS is pinned to 7 (docs/decisions.md). */
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
    return super.subscribe(new GuardedSubscriber<T>(observer, this.#report, this.#where));
  }
}

/** What an operator makes of `source`: of the same kind, so that it keeps its guard. */
export function lifted<T, R>(source: Observable<T>, init: (source: Observable<T>, subscriber: Subscriber<R>) => TeardownLogic): Observable<R> {
  return source.lift({ call: (subscriber: Subscriber<R>, from: Observable<T>) => init(from, subscriber) });
}

/** A view of `source` whose subscribers harm only themselves. */
export function guarded<T>(source: Observable<T>, report: Report, where: string): Observable<T> {
  return new GuardedObservable<T>(report, where, (subscriber) => source.subscribe(subscriber));
}

/** Calls a user's observer; RxJS's own would raise what it throws as an uncaught exception. */
// eslint-disable-next-line rxjs-x/no-subclass
class GuardedSubscriber<T> extends Subscriber<T> {
  readonly #observer: Partial<Observer<T>>;
  readonly #report: Report;
  readonly #where: string;

  constructor(observer: Partial<Observer<T>>, report: Report, where: string) {
    super();
    this.#observer = observer;
    this.#report = report;
    this.#where = where;
  }

  protected override _next(value: T): void {
    try {
      this.#observer.next?.(value);
    } catch (thrown) {
      this.unsubscribe();
      this.#report(thrown, this.#where);
    }
  }

  protected override _error(error: unknown): void {
    try {
      // Without a handler an error must stay as loud as RxJS makes it.
      if (this.#observer.error) this.#observer.error(error);
      else throwLater(error);
    } catch (thrown) {
      this.#report(thrown, this.#where);
    } finally {
      this.unsubscribe();
    }
  }

  protected override _complete(): void {
    try {
      this.#observer.complete?.();
    } catch (thrown) {
      this.#report(thrown, this.#where);
    } finally {
      this.unsubscribe();
    }
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
