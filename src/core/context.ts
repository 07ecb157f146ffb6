import type { CurrentCall } from './call/current-call.ts';
import type { CallTarget, invoke } from './call/invoke.ts';
import type { FunctionRef } from './call/protocol.ts';
import type { RemoteStream, Window } from './call/remote-stream.ts';
import type { ChainArguments, ChainModule, Emitted, RemoteFunction, RemoteModule, ServiceClass, ServiceClient } from './call/types.ts';
import { UsageError } from './errors.ts';
import { Mailbox } from './mailbox/mailbox.ts';
import type { MailboxOptions, MailboxScope } from './mailbox/mailbox.ts';
import type { Router } from './routing/router.ts';
import { Sender } from './mailbox/sender.ts';
import { FIRST_RESERVED_HANDLE, LAST_RESERVED_HANDLE } from './wire/handles.ts';
import type { Reviver } from './wire/revival.ts';
import { TAG_CONTEXT, WIRE } from './wire/tags.ts';
import type { Wired } from './wire/tags.ts';

const MAX_HANDLE = 0xffff_ffff;

/** Finds the module and the name of a function. Throws a UsageError with the remedy when it cannot. */
export type FunctionFinder = (fn: RemoteFunction, callers?: readonly string[]) => FunctionRef;

/** Makes what `module()` gives: `call` is how its methods call a function. */
export type ModuleOpener = (module: URL | string, call: (ref: FunctionRef, args: readonly unknown[]) => RemoteStream<unknown>) => unknown;

/** Makes what `service()` gives: `call` is how its methods call. */
export type ServiceOpener = (service: ServiceClass | string, call: (ref: FunctionRef, args: readonly unknown[]) => RemoteStream<unknown>, context: Context) => unknown;

/** Options of calls. */
export interface CallOptions {
  /**
   * Calls with the same chain run one after another, in the order of their subscription, and once one has failed all
   * later ones fail with its error without running (Mitogen's CallChain).
   */
  readonly chain?: string;
  /** Aborting it fails the call with the signal's reason and cancels it there. */
  readonly signal?: AbortSignal;
  /** How much of a stream may be under way before it is acknowledged. Default 256 values, 4 MiB. */
  readonly window?: Window;
  /**
   * Milliseconds from the subscription, connecting included, after which the call fails with a DeadlineError and is
   * cancelled there. Functions see what is left as `currentCall().deadline`.
   */
  readonly deadline?: number;
  /**
   * In a function that runs for a caller: whether this call ends with that one, when it is cancelled or its deadline has
   * come. Default true; false for work that is to go on.
   */
  readonly inherit?: boolean;
}

/** Something that calls can be made on. */
export interface Callable {
  /**
   * Calls an exported function of an ordinary module, or of a builtin module of Node, in the context.
   *
   * Cold: every subscription makes one call, unsubscribing cancels it (the remote `currentCall().signal` fires, the
   * remote observable is unsubscribed). Values are those of the returned observable or async iterable, else the one
   * result. Errors: CallError when the function throws, EncodeError when an argument or the result cannot be sent,
   * ConnectError when the context cannot be connected, ChannelError when it is lost, DeadlineError when it takes too long.
   */
  call<F extends RemoteFunction>(fn: F, ...args: Parameters<F>): RemoteStream<Emitted<ReturnType<F>>>;

  /**
   * A module as it is called in the context: each function that it exports is a method that makes the same call as
   * `call()` would, and each exported class has its static methods. For functions that `call()` cannot find, or to call
   * what is not imported here: `context.module<typeof import('./tasks.ts')>(new URL('./tasks.ts', import.meta.url))`.
   *
   * Nothing happens until a call is subscribed to. Names that every object or function has, such as `toString` or
   * `bind`, and `then` are not remote.
   *
   * @param module - the URL or absolute path of a file, or a builtin module such as `node:os`
   */
  module<T extends object>(module: URL | string): RemoteModule<T>;

  /**
   * A service in the context: each method that its class declares makes a call (docs/services.md). The first call by a
   * context above starts the service there; others can call it once it runs, as far as the policies of its methods admit.
   *
   * Errors beside those of `call()`: a CallError with the code ERR_TENDRIL_NO_SERVICE, ERR_TENDRIL_NO_METHOD,
   * ERR_TENDRIL_SERVICE_NOT_ACTIVE, ERR_TENDRIL_SERVICE_REFUSED, ERR_TENDRIL_SERVICE_ARGUMENTS or
   * ERR_TENDRIL_SERVICE_BUSY; a ChannelError `invalid-handle` where no service runs at all.
   *
   * @param service - the class, which a module exports; or the name that the service is served under
   */
  service<S extends ServiceClass>(service: S | string): ServiceClient<S>;
}

/**
 * Calls that run one after another, in the order of their subscription. Once one has failed, also because its module does
 * not load or because it was cancelled, those behind it fail with its error without running (Mitogen's CallChain).
 *
 * An argument may be a call of the same chain: `chain.call(read, chain.call(open, path))`. It is made for the call that takes
 * its result, ahead of it, in one round trip. Its result stays in the context, so it may be what cannot be sent, and is let
 * go when the call that takes it has ended. Named twice in one expression it is made once.
 */
export interface Chain extends Callable {
  call<F extends RemoteFunction>(fn: F, ...args: ChainArguments<Parameters<F>>): RemoteStream<Emitted<ReturnType<F>>>;
  module<T extends object>(module: URL | string): RemoteModule<T> & ChainModule<T>;
  /** A service, in a context that this one is above. */
  service<S extends ServiceClass>(service: S | string): ServiceClient<S>;
  /** Forgets a failure: calls that are made from now on run again, behind those that were made before. */
  reset(): void;
}

/** What all contexts of one process share. */
export interface ContextScope extends MailboxScope {
  readonly find: FunctionFinder;
  /** Notes where `call()` is called, for `find`, which runs later. */
  readonly callers?: (fn: RemoteFunction) => readonly string[];
  readonly open: ModuleOpener;
  /** In a child it is there as soon as its code can have a context. */
  readonly service?: ServiceOpener;
  readonly invoke: typeof invoke;
  /** The call that the running code belongs to, in a child. */
  readonly current?: () => CurrentCall | undefined;
}

/** A process of the tree, seen from this one. Equal to another when their IDs are. */
export class Context implements Callable, Wired {
  readonly id: number;
  readonly name: string;
  readonly #scope: ContextScope;
  readonly #mailboxes = new Map<number, Mailbox>();
  /** @internal */
  protected readonly failedChains = new Map<string, Error>();

  /** @internal */
  constructor(scope: ContextScope, id: number, name: string) {
    this.#scope = scope;
    this.id = id;
    this.name = name;
  }

  /**
   * The conversation with this context on a handle: as an Observer it sends to the handle there, as an Observable it
   * gives what arrives from there on the same handle here. On `self` it gives what arrives from anyone admitted.
   *
   * @param number - the handle; a random unused one when left out, for a {@link Mailbox.sender} to pass on
   */
  handle<T = unknown>(number?: number, options?: MailboxOptions): Mailbox<T> {
    const handle = number ?? this.#scope.router.allocateHandle();
    const reserved = handle >= FIRST_RESERVED_HANDLE && handle <= LAST_RESERVED_HANDLE;
    if (!Number.isInteger(handle) || handle < 1 || handle > MAX_HANDLE || reserved) {
      throw new UsageError('ERR_TENDRIL_BAD_HANDLE', `${String(number)} is not a handle for you: use a whole number from 1000 to ${String(MAX_HANDLE)}, or none for a random one; ${String(FIRST_RESERVED_HANDLE)} to ${String(LAST_RESERVED_HANDLE)} are the library's`);
    }
    const known = this.#mailboxes.get(handle);
    if (known?.open === true) return known as Mailbox<T>;
    const mailbox = new Mailbox<T>(this.#scope, this.id, handle, options, () => {
      if (this.#mailboxes.get(handle) === (mailbox as Mailbox)) this.#mailboxes.delete(handle);
    });
    this.#mailboxes.set(handle, mailbox);
    return mailbox;
  }

  call<F extends RemoteFunction>(fn: F, ...args: Parameters<F>): RemoteStream<Emitted<ReturnType<F>>> {
    return this.#call(fn, args, {});
  }

  module<T extends object>(module: URL | string): RemoteModule<T> {
    return this.with({}).module(module);
  }

  service<S extends ServiceClass>(service: S | string): ServiceClient<S> {
    return this.with({}).service(service);
  }

  /** Calls with options. */
  with(options: CallOptions): Callable {
    const call = (ref: FunctionRef, args: readonly unknown[]): RemoteStream<unknown> => this.#invoke(() => ref, args, options);
    return {
      call: (fn, ...args) => this.#call(fn, args, options),
      module: (module) => this.#scope.open(module, call) as never,
      service: (service) => this.#scope.service?.(service, call, this) as never,
    };
  }

  /** A new chain: its calls run in order, and the first failure fails the rest without running them. */
  chain(): Chain {
    const { router } = this.#scope;
    const name = `${String(router.id)}.${String(router.allocateHandle())}`;
    const options = { chain: name };
    let resets = 0;
    return Object.assign(this.with(options), { reset: () => { options.chain = `${name}\0${String(++resets)}`; } }) as Chain;
  }

  /** Whether it is seen from the process of this scope: others may use the same ID for another. @internal */
  isOf(scope: ContextScope): boolean {
    return this.#scope === scope;
  }

  /** How calls reach this context; the master's contexts say here when they are connected. @internal */
  protected target(): CallTarget {
    return {
      contextId: this.id,
      name: this.name,
      ready: true,
      calls: 0,
      chains: this.failedChains,
      whenReady: (go) => {
        go();
        return undefined;
      },
      prepare: () => undefined,
    };
  }

  /** Completes the conversations with this context, as its orderly end does. @internal */
  protected closeMailboxes(): void {
    for (const mailbox of [...this.#mailboxes.values()]) mailbox.close();
  }

  toString(): string {
    return `Context(${String(this.id)}, ${this.name})`;
  }

  [WIRE](): { tag: number; content: unknown } {
    return { tag: TAG_CONTEXT, content: [this.id, this.name] };
  }

  #target: CallTarget | undefined;

  #call<T>(fn: RemoteFunction, args: readonly unknown[], options: CallOptions): RemoteStream<T> {
    const callers = this.#scope.callers?.(fn);
    return this.#invoke(() => this.#scope.find(fn, callers), args, options);
  }

  #invoke<T>(ref: () => FunctionRef, args: readonly unknown[], { chain, ...options }: CallOptions): RemoteStream<T> {
    this.#target ??= this.target();
    return this.#scope.invoke<T>(this.#scope, { ...options, target: this.#target, ref, args, chain: chain ?? null });
  }
}

/** Makes the contexts and senders that arrive in messages: known contexts are found, others made. */
export function createReviver(router: Router, contextOf: (id: number, name: string) => unknown): Reviver {
  return {
    context: contextOf,
    sender: (contextId, handle) => new Sender(router, contextId, handle),
  };
}
