import { rmSync } from 'node:fs';
import { Subscription } from 'rxjs';
import type { Server, Socket } from 'node:net';
import { StreamLink } from '../../core/broker/node-io.ts';
import type { Link } from '../../core/broker/broker.ts';
import { DecodeError, UsageError, messageOf } from '../../core/errors.ts';
import type { Router } from '../../core/routing/router.ts';
import { Stream } from '../../core/routing/stream.ts';
import { HEADER_LENGTH, IS_DEAD, encodeFrame } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { ADD_ROUTE, DEL_ROUTE, SHUTDOWN } from '../../core/wire/handles.ts';
import { decodeValue, encodeValue } from '../../core/wire/values.ts';
import { sendValue } from '../modules/send.ts';
import { checkNames } from '../option-names.ts';
import type { ChildRouting } from '../routing/child-routing.ts';
import { bind } from './bind.ts';
import type { Authority, ListenOptions, Listener } from './listening.ts';
import { ATTACH_PROTOCOL, HELLO_TIMEOUT_MS, MAX_CLIENTS, MAX_HELLO, MAX_WAITING_CLIENTS, checkHello } from './protocol.ts';
import type { Hello, Welcome } from './protocol.ts';
import { Relay } from './relay.ts';
import { checkPath, claimDirectory, pathOfName } from './socket-path.ts';

/** How long a process may take to read that it was turned away, or is to leave, in milliseconds. */
const GOODBYE_MS = 1000;
const AUTHORITIES: readonly string[] = ['full', 'none'];
/** What the names of attached processes begin with; no other process is told of them. */
const NAME_PREFIX = 'attached:';

/** The context that listens. */
export interface ListenerScope {
  readonly router: Router;
  readonly routing: ChildRouting;
  readonly name: string;
  readonly master: boolean;
}

/** Who has connected, and is not admitted yet. */
interface Visitor {
  /** Ends all of it, and with it the connection. */
  readonly stranger: Subscription;
  readonly connection: Subscription;
  readonly link: Link;
}

/** Opens a listener. Rejects with an AttachError or UsageError. */
export async function openListener(scope: ListenerScope, options: ListenOptions): Promise<SocketListener> {
  checkNames('listen()', options, ['name', 'path', 'authority'] satisfies (keyof ListenOptions)[]);
  const { name, path: given, authority = 'full' } = options;
  for (const [option, value] of Object.entries({ name, path: given })) if (value !== undefined && typeof (value as unknown) !== 'string') throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option ${option} must be a text, got ${typeof value}`);
  if (!AUTHORITIES.includes(authority)) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option authority must be full or none, got ${authority}`);
  if (given !== undefined && name !== undefined) throw new UsageError('ERR_TENDRIL_BAD_OPTION', 'give either name or path, not both');
  const path = checkPath(given ?? pathOfName(name ?? String(process.pid)));
  claimDirectory(path);
  const waiting: Socket[] = [];
  let onSocket = (socket: Socket): void => {
    waiting.push(socket);
  };
  const server = await bind(path, (socket) => {
    onSocket(socket);
  });
  const listener = new SocketListener(scope, path, authority, server);
  onSocket = (socket) => {
    listener.accept(socket);
  };
  for (const socket of waiting) listener.accept(socket);
  return listener;
}

/** Takes in processes that attach: each gets an ID and a stream, and a {@link Relay} passes on what it sends. */
export class SocketListener implements Listener {
  readonly path: string;
  readonly #scope: ListenerScope;
  readonly #authority: Authority;
  readonly #server: Server;
  /** Those that have not said their hello, or have been turned away: what undoes them. */
  readonly #strangers = new Set<Subscription>();
  readonly #clients = new Map<Stream, Relay>();
  readonly #news: Subscription;
  /** A process that ends without `close()` leaves no socket, as long as it can do anything about it. */
  readonly #onExit = (): void => {
    rmSync(this.path, { force: true });
  };
  /** Those whose ID is under way. */
  #joining = 0;
  #retiring: Subscription | undefined;
  #closing: Promise<void> | undefined;

  constructor(scope: ListenerScope, path: string, authority: Authority, server: Server) {
    this.#scope = scope;
    this.path = path;
    this.#authority = authority;
    this.#server = server;
    process.once('exit', this.#onExit);
    this.#news = scope.router.events.subscribe((event) => {
      if (event.type === 'route-added' && !event.name.startsWith(NAME_PREFIX)) for (const client of this.#clients.keys()) sendValue(scope.router, client.remoteId, ADD_ROUTE, [event.id, event.name]);
      if (event.type === 'route-removed') this.#tellGone(event.id);
    });
  }

  /** Processes that are attached. For leak checks: also the answers that they wait for. */
  get counts(): { readonly clients: number; readonly strangers: number; readonly answers: number } {
    return { clients: this.#clients.size, strangers: this.#strangers.size, answers: [...this.#clients.values()].reduce((sum, { size }) => sum + size, 0) };
  }

  close(): Promise<void> {
    return (this.#closing ??= new Promise((resolve) => {
      this.#news.unsubscribe();
      this.#retiring?.unsubscribe();
      process.off('exit', this.#onExit);
      // Removes the socket, and is done when all connections are.
      this.#server.close(() => {
        resolve();
      });
      for (const stranger of [...this.#strangers]) stranger.unsubscribe();
      for (const client of [...this.#clients.keys()]) client.disconnect();
    }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Waits for the hello of a stranger: not for long, and not for much. */
  accept(socket: Socket): void {
    const { broker } = this.#scope.router;
    const link = new StreamLink(socket, socket);
    const stranger = new Subscription();
    stranger.add(() => {
      this.#strangers.delete(stranger);
    });
    const connection = new Subscription(() => {
      link.destroy();
    });
    stranger.add(connection);
    if (this.#closing || this.#strangers.size >= MAX_WAITING_CLIENTS) {
      stranger.unsubscribe();
      return;
    }
    this.#strangers.add(stranger);
    stranger.add(broker.after(HELLO_TIMEOUT_MS, () => {
      stranger.unsubscribe();
    }));
    let received = Buffer.alloc(0);
    const end = (): void => {
      stranger.unsubscribe();
    };
    const reading = link.chunks.subscribe({
      next: (chunk) => {
        received = Buffer.concat([received, chunk]);
        if (received.length < HEADER_LENGTH) return;
        const length = received.readUInt32BE(HEADER_LENGTH - 4);
        if (length > MAX_HELLO) end();
        else if (received.length >= HEADER_LENGTH + length) {
          reading.unsubscribe();
          this.#meet({ stranger, connection, link }, received.subarray(HEADER_LENGTH, HEADER_LENGTH + length), received.subarray(HEADER_LENGTH + length));
        }
      },
      error: end,
      complete: end,
    });
    stranger.add(reading);
  }

  #meet(visitor: Visitor, data: Uint8Array, rest: Uint8Array): void {
    const { stranger } = visitor;
    let hello: Hello;
    try {
      hello = checkHello(decodeValue(data));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      stranger.unsubscribe();
      return;
    }
    if (hello.protocol !== ATTACH_PROTOCOL) this.#turnAway(visitor, `the listener speaks version ${String(ATTACH_PROTOCOL)} of the protocol for this, and the process version ${String(hello.protocol)}; use the same version of tendril`);
    else if (this.#clients.size + this.#joining >= MAX_CLIENTS) this.#turnAway(visitor, `${String(MAX_CLIENTS)} processes are attached here already`);
    else {
      const { routing } = this.#scope;
      this.#joining++;
      stranger.add(routing.ids.allocate().subscribe({
        next: (id) => {
          this.#joining--;
          if (stranger.closed) routing.ids.release(id);
          else this.#admit(visitor, id, hello, rest);
        },
        error: (error: unknown) => {
          this.#joining--;
          this.#turnAway(visitor, messageOf(error));
        },
      }));
    }
  }

  #turnAway({ stranger, link }: Visitor, why: string): void {
    const { id, broker } = this.#scope.router;
    link.write([encodeFrame({ dstId: 0, srcId: id, handle: 0, replyTo: IS_DEAD, data: Buffer.from(`error: ${why}`) })]);
    link.end();
    stranger.add(broker.after(GOODBYE_MS, () => {
      stranger.unsubscribe();
    }));
  }

  #admit({ stranger, connection, link }: Visitor, id: number, hello: Hello, rest: Uint8Array): void {
    const { router, routing, name, master } = this.#scope;
    // Its connection is the stream's from now on.
    stranger.remove(connection);
    stranger.unsubscribe();
    const stream = new Stream(router.broker, id, router.maxMessageSize);
    const relay = new Relay(router, stream, this.#authority);
    router.add(stream);
    routing.routes.attach(stream, `${NAME_PREFIX}${hello.name === '' ? String(id) : hello.name}`);
    const contexts = routing.routes.names.filter(([, other]) => !other.startsWith(NAME_PREFIX));
    const { id: listenerId, parentIds, maxMessageSize } = router;
    const welcome: Welcome = { protocol: ATTACH_PROTOCOL, id, listenerId, parentIds, name, nodeVersion: process.version, master, authority: this.#authority, maxMessageSize, contexts };
    link.write([encodeFrame({ dstId: id, srcId: listenerId, handle: 0, replyTo: 0, data: encodeValue(welcome).data })]);
    this.#clients.set(stream, relay);
    stream.closed.subscribe(() => {
      this.#clients.delete(stream);
      relay.close();
      routing.ids.release(id);
    });
    // The router ends this context in order, and those who have attached are to leave.
    const noting = Object.assign(link, { note: ({ handle }: Message) => { if (handle === SHUTDOWN) this.#retire(); } });
    router.open(stream, noting, rest, (batch) => {
      relay.receive(batch);
    });
  }

  /** Takes nobody in any more, and waits a moment for those who are to leave: not as long as the context has for its end. */
  #retire(): void {
    if (this.#retiring !== undefined || this.#closing) return;
    this.#server.close();
    this.#retiring = this.#scope.router.broker.after(GOODBYE_MS, () => {
      void this.close();
    });
  }

  #tellGone(id: number): void {
    const data = Buffer.alloc(2);
    data.writeUInt16BE(id);
    const { router } = this.#scope;
    for (const client of this.#clients.keys()) if (client.remoteId !== id) client.send({ dstId: client.remoteId, srcId: router.id, handle: DEL_ROUTE, replyTo: 0, data });
  }
}
