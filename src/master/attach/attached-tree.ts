import { ReplaySubject } from 'rxjs';
import type { Observable, Subscription } from 'rxjs';
import type { Broker, Link } from '../../core/broker/broker.ts';
import { receiveStreams } from '../../core/call/consumer.ts';
import { invoke } from '../../core/call/invoke.ts';
import { Context, createReviver } from '../../core/context.ts';
import type { ContextScope } from '../../core/context.ts';
import { guarded } from '../../core/mailbox/guarded-observable.ts';
import type { Policy } from '../../core/mailbox/policy.ts';
import { Router } from '../../core/routing/router.ts';
import { Stream } from '../../core/routing/stream.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import { ADD_ROUTE, DEL_ROUTE, GET_MODULE, GET_RESOURCE, SHUTDOWN } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import type { Authority } from '../../parent/attach/listening.ts';
import type { Welcome } from '../../parent/attach/protocol.ts';
import { ConnectedContext } from '../../parent/connected-context.ts';
import type { Closed } from '../../parent/connection/connection.ts';
import { goneId } from '../../parent/routing/del-route.ts';
import { callersOf, findFunction } from '../modules/function-finder.ts';
import { serviceClient } from '../../service/client.ts';
import { refOf } from '../services.ts';
import { openModule } from '../modules/open-module.ts';
import type { ModuleOptions } from '../modules/options.ts';
import { ModuleResponder } from '../modules/responder.ts';
import { AttachedConnection } from './attached-connection.ts';

/** How long the listener may take to close its end, in milliseconds. */
const GOODBYE_MS = 1000;

/** What an {@link AttachedTree} begins with. */
export interface AttachedStart {
  readonly broker: Broker;
  readonly link: Link;
  readonly welcome: Welcome;
  /** Bytes behind the welcome. */
  readonly first: Buffer;
  readonly modules: ModuleOptions;
}

interface Member {
  readonly context: ConnectedContext;
  readonly connection: AttachedConnection;
}

/**
 * A tree that this process has joined by `attach()`: calls and messages to its contexts, with the authority that the
 * listener gives. They are seen as coming from the listener; so for values from a context make a call, or give it a Sender
 * of a mailbox whose policy admits it: `tree.self.handle(number, { policy: anyContext }).sender`.
 */
export class AttachedTree implements AsyncDisposable {
  readonly broker: Broker;
  readonly router: Router;
  /** This process as a context of the tree. */
  readonly self: Context;
  /** The context that listens. It takes calls unless it is a master. */
  readonly listener: Context;
  /** What this process may do. */
  readonly authority: Authority;
  /** Sends modules of this process to contexts, ahead of its calls. */
  readonly responder: ModuleResponder;
  /** Emits once, when the connection is closed: by `close()` (`shutdown`), or by the other side (`lost`). Replays. */
  readonly closed: Observable<Closed>;
  readonly #scope: ContextScope;
  readonly #stream: Stream;
  readonly #members = new Map<number, Member>();
  readonly #closed = new ReplaySubject<Closed>(1);
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor({ broker, link, welcome, first, modules }: AttachedStart) {
    const { id, listenerId, parentIds, maxMessageSize } = welcome;
    this.broker = broker;
    this.authority = welcome.authority;
    this.router = new Router(broker, { id, parentIds: [listenerId, ...parentIds], maxMessageSize });
    this.closed = guarded(this.#closed, broker.report, 'subscriber of the end of an attached tree');
    this.#scope = receiveStreams<ContextScope>({
      router: this.router,
      reviver: createReviver(this.router, (other, name) => (other === id ? this.self : (this.#members.get(other)?.context ?? new Context(this.#scope, other, name)))),
      find: findFunction,
      callers: callersOf,
      open: openModule,
      service: (service, call, context) => serviceClient(refOf(service), call, 'connected' in context),
      invoke,
    });
    this.self = new Context(this.#scope, id, 'self');
    this.#stream = new Stream(broker, listenerId, maxMessageSize);
    this.responder = new ModuleResponder(this.router, modules, (other) => this.#members.get(other)?.context, () => undefined);
    // It sends what calls need. What contexts ask for, they ask of their own parents.
    this.router.removeHandler(GET_MODULE);
    this.router.removeHandler(GET_RESOURCE);
    this.listener = welcome.master ? new Context(this.#scope, listenerId, welcome.name) : this.#add(listenerId, welcome.name);
    for (const [other, name] of welcome.contexts) this.#add(other, name);
    this.#listenToNews(listenerId);
    this.router.table.parent = this.#stream;
    this.#stream.closed.subscribe((error) => {
      this.#end(error);
    });
    this.router.add(this.#stream);
    this.router.open(this.#stream, link, first);
  }

  /** The contexts that are there and take calls: the listener first, unless it is a master, then those below it. */
  get contexts(): readonly ConnectedContext[] {
    return [...this.#members.values()].map(({ context }) => context);
  }

  /** The context of this name, or this ID; undefined when there is none. */
  context(nameOrId: string | number): ConnectedContext | undefined {
    return this.contexts.find(({ id, name }) => id === nameOrId || name === nameOrId);
  }

  /**
   * Leaves the tree, which goes on. What was sent goes out; calls that are under way are cancelled. Resolves when that is
   * done; never rejects. To end the tree, shut its contexts down.
   */
  close(): Promise<void> {
    return (this.#closing ??= new Promise((resolve) => {
      const stream = this.#stream;
      const force: Subscription = this.broker.after(GOODBYE_MS, () => {
        stream.disconnect();
      });
      stream.closed.subscribe(() => {
        force.unsubscribe();
        resolve();
      });
      stream.end();
    }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #listenToNews(listenerId: number): void {
    const { router } = this;
    const policy: Policy = ({ srcId }) => srcId === listenerId;
    router.addHandler(ADD_ROUTE, {
      policy,
      deliver: ({ replyTo, data, tail }) => {
        if (replyTo === IS_DEAD) return;
        const [id, name] = decodeValue(data, tail) as [number, string];
        this.#add(id, name);
      },
    });
    router.removeHandler(DEL_ROUTE);
    router.addHandler(DEL_ROUTE, {
      policy,
      deliver: (message) => {
        const id = goneId(message);
        router.delRoute(message);
        if (id !== undefined && message.replyTo !== IS_DEAD) this.#remove(id, 'lost');
      },
    });
    router.addHandler(SHUTDOWN, {
      policy,
      deliver: ({ replyTo }) => {
        if (replyTo !== IS_DEAD) void this.close();
      },
    });
  }

  #add(id: number, name: string): ConnectedContext {
    const known = this.#members.get(id);
    if (known) return known.context;
    const made: { connection?: AttachedConnection } = {};
    const context = new ConnectedContext(this.#scope, {
      id,
      name,
      via: undefined,
      sameNode: false,
      // It is not ours to bring back.
      reconnect: undefined,
      allocateId: () => id,
      begin: () => undefined,
      end: () => undefined,
      stats: () => ({ sent: undefined, received: undefined, modules: this.responder.stats(id) }),
      connect: (_context, listener) => (made.connection = new AttachedConnection(this.#scope, id, this.#stream, listener)),
      onOutput: () => undefined,
      prepare: (prepared, ref) => {
        this.responder.prepare(prepared, ref);
      },
    });
    if (made.connection) this.#members.set(id, { context, connection: made.connection });
    return context;
  }

  #remove(id: number, reason: 'shutdown' | 'lost'): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    this.#members.delete(id);
    this.responder.forget(id);
    member.connection.end(reason);
  }

  #end(error: Error | undefined): void {
    const reason = this.#closing ? 'shutdown' : 'lost';
    for (const id of [...this.#members.keys()]) this.#remove(id, reason);
    this.#closed.next({ reason, ...(error && { error }) });
    this.#closed.complete();
    // Behind the router, which tells those who wait that the tree is gone.
    this.broker.defer(() => {
      this.router.close();
    });
  }
}
