import { channel } from 'node:diagnostics_channel';
import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Broker, Link } from '../broker/broker.ts';
import { collectGarbage } from '../broker/garbage.ts';
import { ShutdownError, UsageError } from '../errors.ts';
import type { DeadReason } from '../errors.ts';
import { GuardedObservable } from '../mailbox/guarded-observable.ts';
import { hasParentAuthority } from '../mailbox/policy.ts';
import type { Policy } from '../mailbox/policy.ts';
import { IS_DEAD, MORE, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { DEL_ROUTE, FIRST_DYNAMIC_HANDLE, PING } from '../wire/handles.ts';
import { decide } from './decide.ts';
import type { DropReason, Gate, StreamStats } from './gate.ts';
import { Joiner, conversationKey } from './joiner.ts';
import type { Stream } from './stream.ts';
import { RouteTable } from './table.ts';

/** Who answers a handle of this context. */
export interface Handler {
  /** Takes a message, or a dead message (`replyTo` is IS_DEAD). A throw is reported and harms nothing else. */
  deliver(message: Message): void;
  /** Takes fragments as they come, and joins them by itself. */
  readonly fragments?: boolean;
  /** The only context that may send here; its end is announced by a dead message. */
  readonly respondent?: number;
  /** Who else may send here; {@link hasParentAuthority} when there is no respondent either. */
  readonly policy?: Policy;
}

/** What happened in a router, for tools and tests. `via` is the direct peer that a message came in from, or a route leads to. */
export type RouterEvent =
  | { readonly type: 'stream-opened'; readonly id: number }
  | { readonly type: 'stream-closed'; readonly id: number; readonly error: Error | undefined }
  | { readonly type: 'route-added'; readonly id: number; readonly via: number; readonly name: string }
  | { readonly type: 'route-removed'; readonly id: number; readonly via: number }
  | { readonly type: 'message-dropped'; readonly reason: DropReason; readonly why: string; readonly srcId: number; readonly handle: number; readonly via: number | undefined }
  | { readonly type: 'message-refused'; readonly reason: DeadReason; readonly why: string; readonly srcId: number; readonly handle: number; readonly via: number | undefined };

/** Who a router is. */
export interface RouterOptions {
  readonly id: number;
  /** From the immediate parent up to the master. */
  readonly parentIds: readonly number[];
  /** Bytes of the largest payload. */
  readonly maxMessageSize: number;
}

const eventChannel = channel('tendril:router');
const ioChannel = channel('tendril:io');

/** Characters of the text of a dead message. */
const MAX_REASON = 1024;

const randomHandles = new Uint32Array(1024);

/**
 * Moves messages: verifies their source, delivers them to handlers here, forwards them towards their destination, or
 * declares them dead. Delivery is synchronous and first in, first out, also when a handler sends in turn.
 */
export class Router {
  readonly id: number;
  readonly parentIds: readonly number[];
  readonly maxMessageSize: number;
  readonly broker: Broker;
  readonly table: RouteTable<Stream>;
  /** Put there by a context that has children. */
  gate: Gate | undefined;
  /** Drops, refusals, streams; also on `diagnostics_channel` `tendril:router`. */
  readonly events: Observable<RouterEvent>;
  readonly #events = new Subject<RouterEvent>();
  readonly #handlers = new Map<number, Handler>();
  /** Handlers that one context alone may send to, by {@link conversationKey}. */
  readonly #conversations = new Map<number, Handler>();
  readonly #respondents = new Map<number, Set<number>>();
  readonly #streams = new Set<Stream>();
  readonly #joiner: Joiner;
  readonly #queue: { message: Message; from: Stream | undefined }[] = [];
  #delivering = false;
  #closed = false;
  #nextRandom = randomHandles.length;

  constructor(broker: Broker, options: RouterOptions) {
    this.broker = broker;
    this.id = options.id;
    this.parentIds = options.parentIds;
    this.maxMessageSize = options.maxMessageSize;
    this.table = new RouteTable(options.id);
    this.#joiner = new Joiner(options.maxMessageSize);
    this.events = new GuardedObservable(broker.report, 'subscriber of the events of a router', (subscriber) => this.#events.subscribe(subscriber));
    // From above, where the sender is the parent or the other thread of this context. From children: src/parent.
    this.addHandler(DEL_ROUTE, { deliver: (message) => { this.delRoute(message); }, policy: ({ srcId }) => srcId === this.parentIds[0] || srcId === this.id });
  }

  /** The direct peers. */
  get streams(): ReadonlySet<Stream> {
    return this.#streams;
  }

  /** What each direct peer has sent, and what became of it; empty in a context without children. */
  stats(): readonly StreamStats[] {
    return this.gate?.stats() ?? [];
  }

  /** How many handles are answered here. For leak checks. */
  get handleCount(): number {
    return this.#handlers.size + this.#conversations.size;
  }

  /** Adds a direct peer whose link may come later: {@link Router.open}. */
  add(stream: Stream): void {
    this.#streams.add(stream);
    stream.closed.subscribe((error) => {
      this.#streamClosed(stream, error);
    });
  }

  /**
   * Starts to read from a peer.
   *
   * @param first - bytes of the stream that were read before
   * @param deliver - takes the messages of each chunk; {@link Router.receive} unless someone must look at them first
   */
  open(stream: Stream, link: Link, first?: Uint8Array, deliver: (batch: readonly Message[]) => void = (batch) => { this.receive(batch, stream); }): void {
    this.emit({ type: 'stream-opened', id: stream.remoteId });
    stream.open(link, deliver, first);
  }

  /** An unused random handle; unguessable, so knowing it is a capability. */
  allocateHandle(): number {
    for (;;) {
      if (this.#nextRandom >= randomHandles.length) {
        // Loaded when it is wanted: it takes 3 ms, and most children never allocate a handle.
        process.getBuiltinModule('node:crypto').randomFillSync(randomHandles);
        this.#nextRandom = 0;
      }
      // 31 bits: V8 keeps larger numbers in objects of their own, which maps are slow to find.
      const handle = (randomHandles[this.#nextRandom++] ?? 0) >>> 1;
      if (handle >= FIRST_DYNAMIC_HANDLE && !this.#handlers.has(handle)) return handle;
    }
  }

  /** Answers `handle` from now on. Throws when it is answered already, and when the router has shut down. */
  addHandler(handle: number, handler: Handler): void {
    this.#checkOpen();
    if (this.#handlers.has(handle)) throw new UsageError('ERR_TENDRIL_HANDLE_IN_USE', `cannot register handle ${String(handle)}: it exists already; remove it first or use a dynamic one`);
    this.#handlers.set(handle, handler);
    if (handler.respondent === undefined) return;
    let handles = this.#respondents.get(handler.respondent);
    if (handles === undefined) this.#respondents.set(handler.respondent, (handles = new Set()));
    handles.add(handle);
  }

  /** Stops answering `handle`; later messages for it are dead. */
  removeHandler(handle: number): void {
    const handler = this.#handlers.get(handle);
    if (handler === undefined) return;
    this.#handlers.delete(handle);
    this.#joiner.forget(handler.respondent, handle);
    if (handler.respondent === undefined) return;
    const handles = this.#respondents.get(handler.respondent);
    handles?.delete(handle);
    if (handles?.size === 0) this.#respondents.delete(handler.respondent);
  }

  /** Answers `handle` for messages from `contextId` alone, beside what others answer on the same number. */
  addConversation(contextId: number, handle: number, handler: Handler): void {
    this.#checkOpen();
    const key = conversationKey(contextId, handle);
    if (this.#conversations.has(key)) throw new UsageError('ERR_TENDRIL_HANDLE_IN_USE', `cannot register handle ${String(handle)} for context ${String(contextId)}: it exists already; use the mailbox that you have`);
    this.#conversations.set(key, handler);
  }

  removeConversation(contextId: number, handle: number): void {
    this.#conversations.delete(conversationKey(contextId, handle));
    this.#joiner.forget(contextId, handle);
  }

  /** Sends a message of this context. */
  send(message: Message): void {
    if (message.replyTo !== IS_DEAD && payloadLength(message) > this.maxMessageSize) {
      this.#tooLarge(message);
      return;
    }
    this.#route(message, undefined);
  }

  /** Sends the dead message `reason: text`. */
  sendDead(dstId: number, handle: number, reason: DeadReason, text = ''): void {
    // Dead messages are not checked against the limit, as they report offences; so they must be short by themselves.
    const data = Buffer.from(text === '' ? reason : `${reason}: ${text.slice(0, MAX_REASON)}`, 'utf8');
    this.send({ dstId, srcId: this.id, handle, replyTo: IS_DEAD, data });
  }

  /** Routes what came in on a stream. */
  receive(batch: readonly Message[], from: Stream): void {
    collectGarbage(this.broker);
    this.gate?.received(batch, from);
    for (const message of batch) this.#route(message, from);
  }

  /** Tells everyone who waits for `id` that no answer will come. */
  contextGone(id: number, reason: DeadReason = 'respondent-gone', text = 'the respondent Context has disconnected'): void {
    this.#joiner.forget(id);
    for (const handle of [...(this.#respondents.get(id) ?? [])]) this.#deadHere(this.#handlers.get(handle), handle, id, reason, text);
    for (const [key, handler] of [...this.#conversations]) {
      // One that is told may end others.
      if (Math.floor(key / 2 ** 32) === id && this.#conversations.get(key) === handler) this.#deadHere(handler, key % 2 ** 32, id, reason, text);
    }
  }

  /** Ends every handler with a dead message, as the last act of a shutdown. None can be added any more. */
  close(): void {
    this.#closed = true;
    // A handler that is told may remove others, which the loops see.
    for (const [handle, handler] of this.#handlers) {
      this.removeHandler(handle);
      this.#deadHere(handler, handle, this.id, 'broker-exit', 'Broker has exitted');
    }
    for (const [key, handler] of this.#conversations) {
      this.#conversations.delete(key);
      this.#deadHere(handler, key % 2 ** 32, this.id, 'broker-exit', 'Broker has exitted');
    }
    this.#events.complete();
  }

  #checkOpen(): void {
    if (this.#closed) throw new ShutdownError('this context');
  }

  #route(message: Message, from: Stream | undefined): void {
    if (ioChannel.hasSubscribers) ioChannel.publish({ id: this.id, srcId: message.srcId, dstId: message.dstId, handle: message.handle, replyTo: message.replyTo, bytes: payloadLength(message) });
    const decision = decide(this.table, message, from);
    switch (decision.kind) {
      case 'deliver':
        this.#enqueue(message, from);
        return;
      case 'forward':
        // At once, also in the middle of a delivery: a handler may never return.
        if (from && this.gate?.admits(message, from, decision.peer) === false) return;
        // Who has sent to a context, or heard of it, is told when it is gone.
        from?.learn(message.dstId);
        decision.peer.learn(message.srcId);
        decision.peer.send(message);
        return;
      case 'dead':
        this.#reply(message, decision.reason, decision.text);
        return;
      case 'drop':
        this.emit({ type: 'message-dropped', reason: 'bad-source', why: decision.why, srcId: message.srcId, handle: message.handle, via: from?.remoteId });
    }
  }

  /** The trampoline: what is delivered while something is being delivered waits for its turn. */
  #enqueue(message: Message, from: Stream | undefined): void {
    if (this.#delivering) {
      this.#queue.push({ message, from });
      return;
    }
    this.#delivering = true;
    this.#deliver(message, from);
    // The queue may grow while it is worked on; the loop sees that.
    for (const next of this.#queue) this.#deliver(next.message, next.from);
    if (this.#queue.length > 0) this.#queue.length = 0;
    this.#delivering = false;
  }

  #deliver(message: Message, from: Stream | undefined): void {
    const conversation = this.#conversations.size === 0 ? undefined : this.#conversations.get(conversationKey(message.srcId, message.handle));
    if (conversation !== undefined) {
      this.#hand(conversation, message, from);
      return;
    }
    const handler = this.#handlers.get(message.handle);
    if (handler === undefined) {
      const { twin } = this.table;
      // A sign of life is the thread's own, also while the other one hangs.
      if (twin !== undefined && from !== twin && message.handle !== PING) twin.send(message);
      else this.#reply(message, 'invalid-handle', `invalid handle ${String(message.handle)}`);
      return;
    }
    if (!this.#admits(handler, message, from)) {
      if (handler.respondent === undefined) this.#refuse(message, 'refused-by-policy', 'refused by policy', from);
      else this.#refuse(message, 'unexpected-source', 'reply from unexpected context', from);
      return;
    }
    this.#hand(handler, message, from);
  }

  #hand(handler: Handler, message: Message, from?: Stream): void {
    try {
      const whole = message.part && !handler.fragments ? this.#joiner.join(message, from) : message;
      // What it had was copied.
      if (whole !== message && whole !== null) message.release?.();
      if (whole) handler.deliver(whole);
      else if (whole === null) this.#overLimit(handler, message, from);
    } catch (error) {
      this.broker.report(error, `handler of handle ${String(message.handle)}`);
    }
  }

  #admits(handler: Handler, message: Message, from: Stream | undefined): boolean {
    if (handler.respondent !== undefined) {
      // A dead message can come from any hop on the way to the respondent; random handles keep strangers out. From above
      // also when the way leads down by now: the question may have gone up just before the respondent was announced.
      if (message.srcId === handler.respondent || (message.replyTo === IS_DEAD && message.handle >= FIRST_DYNAMIC_HANDLE && [undefined, this.table.parent, this.table.get(handler.respondent)].includes(from))) return true;
      if (handler.policy === undefined) return false;
    }
    const policy = handler.policy ?? hasParentAuthority;
    try {
      return policy(message, { id: this.id, parentIds: this.parentIds, immediateId: from?.remoteId });
    } catch (error) {
      this.broker.report(error, `policy of handle ${String(message.handle)}`);
      return false;
    }
  }

  #reply(message: Message, reason: DeadReason, text: string): void {
    // One answer to all fragments of a message: to the last, if it comes to that.
    if (message.replyTo === 0 || message.replyTo === IS_DEAD || ((message.part ?? 0) & MORE) !== 0) return;
    this.sendDead(message.srcId, message.replyTo, reason, text);
  }

  /** Whoever waits must wake up, as in {@link Router.send}. */
  #overLimit(handler: Handler, message: Message, from: Stream | undefined): void {
    const text = 'the fragments of a message are more, or smaller, than they may be';
    this.#refuse({ ...message, part: 0 }, 'too-large', text, from);
    if (message.replyTo === 0) this.#deadHere(handler, message.handle, message.srcId, 'too-large', text);
  }

  #refuse(message: Message, reason: DeadReason, text: string, from: Stream | undefined): void {
    this.emit({ type: 'message-refused', reason, why: text, srcId: message.srcId, handle: message.handle, via: from?.remoteId });
    this.#reply(message, reason, text);
  }

  #tooLarge(message: Message): void {
    const text = `message too large (${String(payloadLength(message))} bytes, max ${String(this.maxMessageSize)} bytes)`;
    this.emit({ type: 'message-refused', reason: 'too-large', why: text, srcId: message.srcId, handle: message.handle, via: undefined });
    // Whoever waits must wake up: the sender when it expects an answer, else the one that was to receive this.
    if (message.replyTo !== 0) this.sendDead(this.id, message.replyTo, 'too-large', text);
    else this.sendDead(message.dstId, message.handle, 'too-large', text);
  }

  #deadHere(handler: Handler | undefined, handle: number, srcId: number, reason: DeadReason, text: string): void {
    if (handler !== undefined) this.#hand(handler, { dstId: this.id, srcId, handle, replyTo: IS_DEAD, data: Buffer.from(`${reason}: ${text}`) });
  }

  /** Takes the news from above that a context is gone. @internal */
  delRoute({ srcId, replyTo, data }: Message): void {
    if (replyTo === IS_DEAD || data.length !== 2) return;
    const id = Buffer.from(data).readUInt16BE(0);
    const above = this.parentIds.indexOf(id);
    // A context above has let its subtree go, and those beyond it have no say here any more. That this very context was
    // detached is for its other thread to tell.
    if (above > 0 || (above === 0 && srcId === this.id)) (this.parentIds as number[]).length = above;
    if (id !== this.id && id !== this.parentIds[0]) this.#gone(id, true);
  }

  #streamClosed(stream: Stream, error: Error | undefined): void {
    this.#streams.delete(stream);
    if (this.table.twin === stream) this.table.twin = undefined;
    this.emit({ type: 'stream-closed', id: stream.remoteId, error });
    if (this.table.parent === stream) {
      this.table.parent = undefined;
      // Everything that is not below us was behind this stream.
      for (const id of new Set([...this.#respondents.keys(), ...[...this.#conversations.keys()].map((key) => Math.floor(key / 2 ** 32))])) if (this.table.get(id) === undefined) this.contextGone(id);
    }
    this.removeRoutes(this.table.via(stream), stream.remoteId);
  }

  /** Takes away routes that led to the direct peer `via`, and tells all who may wait for those contexts. @internal */
  removeRoutes(ids: readonly number[], via: number): void {
    for (const id of ids) {
      this.table.delete(id);
      this.emit({ type: 'route-removed', id, via });
    }
    for (const id of ids) this.#gone(id, false);
  }

  /** Tells those who may wait for `id` that it is gone: here, the peers that know of it, and above unless it is known there. */
  #gone(id: number, fromAbove: boolean): void {
    this.contextGone(id);
    const { parent, twin } = this.table;
    const data = Buffer.alloc(2);
    data.writeUInt16BE(id);
    for (const peer of this.#streams) {
      const concerned = peer === parent ? !fromAbove : peer === twin || peer.forget(id);
      if (concerned) peer.send({ dstId: peer === twin ? this.id : peer.remoteId, srcId: this.id, handle: DEL_ROUTE, replyTo: 0, data });
    }
  }

  /** Makes an event known. @internal */
  emit(event: RouterEvent): void {
    if (eventChannel.hasSubscribers) eventChannel.publish({ id: this.id, ...event });
    this.#events.next(event);
  }
}
