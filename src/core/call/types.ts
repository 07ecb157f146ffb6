import type { InteropObservable, Observable } from 'rxjs';

/** What a call emits for a function that returns `R`: values of an observable or async iterable, else the result. */
export type Emitted<R> =
  R extends Observable<infer T> ? T : R extends InteropObservable<infer T> ? T : R extends AsyncIterable<infer T> ? T : R extends PromiseLike<infer U> ? Emitted<U> : R;

/** A function that can be called in another context. */
// The bottom type for arguments is what makes every function assignable.
export type RemoteFunction = (...args: never[]) => unknown;
