import type { InteropObservable, Observable } from 'rxjs';
import type { RemoteStream } from './remote-stream.ts';

/** What a call emits for a function that returns `R`: values of an observable or async iterable, else the result. */
export type Emitted<R> =
  R extends Observable<infer T> ? T : R extends InteropObservable<infer T> ? T : R extends AsyncIterable<infer T> ? T : R extends PromiseLike<infer U> ? Emitted<U> : R;

/** A function that can be called in another context. */
// The bottom type for arguments is what makes every function assignable.
export type RemoteFunction = (...args: never[]) => unknown;

/** A method of a remote module: the parameters of the function, and its results as an observable. */
export type RemoteMethod<F extends RemoteFunction> = (...args: Parameters<F>) => RemoteStream<Emitted<ReturnType<F>>>;

type RemoteStatics<C> = { readonly [K in keyof C as C[K] extends RemoteFunction ? K : never]: RemoteMember<C[K]> };

type RemoteMember<V> = (V extends RemoteFunction ? RemoteMethod<V> : unknown) & (V extends abstract new (...args: never) => unknown ? RemoteStatics<V> : unknown);

/** The functions that a module of the type `T` exports, and the static methods of its classes, as they are called in another context. */
export type RemoteModule<T> = { readonly [K in keyof T as T[K] extends RemoteFunction | (abstract new (...args: never) => unknown) ? K : never]: RemoteMember<T[K]> };
