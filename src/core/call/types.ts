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

/** What a policy of a service may look at. The source of a call is verified at every hop. */
export interface ServiceCaller {
  /** The context that calls. */
  readonly id: number;
  /**
   * Where it is, seen from the context of the service: this very context, one above it, one below it, or neither. For a
   * master all others are below.
   */
  readonly relation: 'self' | 'parent' | 'child' | 'sibling';
}

/** Whether a context may call a method. One that throws refuses. */
export type ServicePolicy = (caller: ServiceCaller) => boolean;

/** How calls of a method with the same key become one. */
export interface Deduplication {
  /** The key of a call, from its arguments; as it is, no parsing: a text of at most 1,024 characters, or a number. */
  readonly key: (...args: never[]) => string | number;
  /** For how long a result serves later calls: milliseconds, or `true` for as long as the service lives. Default: not at all. */
  readonly keep?: number | true;
  /** As `keep`, for failures. Default: not at all. */
  readonly keepErrors?: number | true;
}

/** What is to be known of a method of a service, beside the method itself. */
export interface MethodOptions {
  /** Who may call it; all of them must agree. Without one nobody may. */
  readonly policy?: ServicePolicy | readonly ServicePolicy[];
  /** Looks at the arguments of a call before it runs. False, or what it throws, refuses the call (ERR_TENDRIL_SERVICE_ARGUMENTS). */
  readonly check?: (...args: never[]) => unknown;
  /** How many calls run at a time; the others wait in their order. Streams run until they end. Default: no limit. */
  readonly concurrency?: number;
  /** How many calls may wait. One more is refused (ERR_TENDRIL_SERVICE_BUSY). Default 1024. */
  readonly queue?: number;
  /** Calls with the same key share one computation: a method that gives one value, not a stream. A function is the `key` alone. */
  readonly dedupe?: Deduplication['key'] | Deduplication;
}

/**
 * A service: a class whose instance keeps its state for as long as its context lives. Methods that are in `methods` can be
 * called from other contexts, as far as their policies admit; no others. Results may be anything that the result of a call
 * may be, also observables and async iterables.
 */
export interface ServiceClass<I = unknown> {
  new (): I;
  readonly methods: Readonly<Record<string, MethodOptions>>;
}

/** A service in another context: its methods, which make a call for each subscription to what they give. */
export type ServiceClient<S extends ServiceClass> = { readonly [K in keyof S['methods'] & keyof InstanceType<S>]: InstanceType<S>[K] extends RemoteFunction ? RemoteMethod<InstanceType<S>[K]> : never };

type RemoteStatics<C> = { readonly [K in keyof C as C[K] extends RemoteFunction ? K : never]: RemoteMember<C[K]> };

type RemoteMember<V> = (V extends RemoteFunction ? RemoteMethod<V> : unknown) & (V extends abstract new (...args: never) => unknown ? RemoteStatics<V> : unknown);

/** The functions that a module of the type `T` exports, and the static methods of its classes, as they are called in another context. */
export type RemoteModule<T> = { readonly [K in keyof T as T[K] extends RemoteFunction | (abstract new (...args: never) => unknown) ? K : never]: RemoteMember<T[K]> };

/** Arguments of a call of a chain: each may be a call of the same chain, whose result it is. */
export type ChainArguments<A extends readonly unknown[]> = { readonly [K in keyof A]: A[K] | RemoteStream<A[K]> };

type ChainMethod<M> = M extends (...args: infer A extends readonly unknown[]) => infer R ? (...args: ChainArguments<A>) => R : M;

/** A {@link RemoteModule} in a chain. */
export type ChainModule<T> = { readonly [K in keyof RemoteModule<T>]: ChainMethod<RemoteModule<T>[K]> & { readonly [S in keyof RemoteModule<T>[K]]: ChainMethod<RemoteModule<T>[K][S]> } };
