import { isImmediateChild } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { ADD_ROUTE, DEL_ROUTE } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import { sendValue } from '../modules/send.ts';
import type { ContextDirectory } from './context-directory.ts';
import { goneId, sendDelRoute } from './del-route.ts';
import type { IdBlocks } from './id-blocks.ts';
import type { Traffic } from './traffic.ts';

/** Characters of the name of a context that are told to others. */
const MAX_NAME = 256;
/** How a version of Node is written. */
const NODE_VERSION = /^v\d+\.\d+[\w.+-]{0,64}$/;

/**
 * Payload of ADD_ROUTE: a context begins to connect, or with a version of Node, is connected. `via` is the context that it
 * is a child of; the sender when it is left out.
 */
export type RouteAnnouncement = readonly [id: number, name: string, via?: number, nodeVersion?: string];

/** A context behind this one. */
interface Known {
  readonly name: string;
  readonly via: number;
  connected: boolean;
}

/**
 * Keeps the routes of a context with children (Mitogen's RouteMonitor): tells the parent of each context that comes and
 * goes behind it, and takes such news from its children as far as they may give it.
 */
export class RouteMonitor {
  readonly #router: Router;
  readonly #blocks: IdBlocks;
  readonly #traffic: Traffic;
  readonly #directory: ContextDirectory;
  readonly #known = new Map<number, Known>();

  constructor(router: Router, blocks: IdBlocks, traffic: Traffic, directory: ContextDirectory) {
    this.#router = router;
    this.#blocks = blocks;
    this.#traffic = traffic;
    this.#directory = directory;
    router.addHandler(ADD_ROUTE, { policy: isImmediateChild, deliver: (message) => { this.#onAddRoute(message); } });
    // In the place of the core's, which hears its parent only.
    router.removeHandler(DEL_ROUTE);
    router.addHandler(DEL_ROUTE, { policy: (message, scope) => message.srcId === router.id || isImmediateChild(message, scope), deliver: (message) => { this.#onDelRoute(message); } });
    router.events.subscribe((event) => {
      if (event.type !== 'route-removed') return;
      this.#known.delete(event.id);
      directory.delete(event.id);
    });
  }

  /** How many contexts behind this one have a name here. For leak checks. */
  get size(): number {
    return this.#known.size;
  }

  /** The contexts behind this one, with the names that they were announced with. */
  get names(): (readonly [id: number, name: string])[] {
    return [...this.#known].map(([id, { name }]) => [id, name]);
  }

  /** The name that a context behind this one was announced with. */
  nameOf(id: number): string | undefined {
    return this.#known.get(id)?.name;
  }

  /**
   * A child of this context begins, connected or not: what is for it waits in its stream. Announces it above, which the
   * end of the stream takes back. False when its ID leads elsewhere already.
   */
  attach(stream: Stream, name: string): boolean {
    if (!this.#router.table.add(stream.remoteId, stream)) return false;
    this.#announce(stream.remoteId, stream, name.slice(0, MAX_NAME), this.#router.id);
    return true;
  }

  /** A context that was announced is connected. Tells that above. */
  booted(id: number, nodeVersion: string): void {
    const known = this.#known.get(id);
    if (known === undefined || known.connected) return;
    known.connected = true;
    this.#directory.connected(id, nodeVersion);
    this.#tellParent([id, known.name, known.via, nodeVersion]);
  }

  /** Takes back an ID that was granted for one context, which never came to be. */
  withdraw(id: number): void {
    sendDelRoute(this.#router, id);
  }

  #announce(id: number, stream: Stream, name: string, via: number): void {
    this.#known.set(id, { name, via, connected: false });
    this.#directory.add(id, name, via);
    this.#router.emit({ type: 'route-added', id, via: stream.remoteId, name });
    this.#tellParent(via === this.#router.id ? [id, name] : [id, name, via]);
  }

  #tellParent(announcement: RouteAnnouncement): void {
    const { parent } = this.#router.table;
    if (parent !== undefined) sendValue(this.#router, parent.remoteId, ADD_ROUTE, announcement);
  }

  #onAddRoute(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const { table } = this.#router;
    const child = table.get(message.srcId);
    const announced = decodeAnnouncement(message);
    if (child?.remoteId !== message.srcId || announced === undefined) {
      this.#refuse(message, 'it is not valid');
      return;
    }
    const [id, name, via = message.srcId, nodeVersion = ''] = announced;
    const known = table.get(id);
    if (!this.#blocks.holds(child.remoteId, id)) this.#refuse(message, `${String(id)} was not granted to context ${String(message.srcId)}`);
    else if (known !== undefined && known !== child && !this.#isStandIn(known)) this.#refuse(message, `${String(id)} is reached through context ${String(known.remoteId)}`);
    else {
      if (known === undefined) table.add(id, child);
      // It can make wrong trees of what is behind itself, and of nothing else.
      if (!this.#known.has(id)) this.#announce(id, child, name, table.get(via) === child ? via : message.srcId);
      if (nodeVersion !== '') this.booted(id, nodeVersion);
    }
  }

  #onDelRoute(message: Message): void {
    const { srcId } = message;
    if (srcId === this.#router.id || srcId === this.#router.parentIds[0]) {
      this.#router.delRoute(message);
      return;
    }
    if (message.replyTo === IS_DEAD) return;
    const id = goneId(message);
    const leadsTo = id === undefined ? undefined : this.#router.table.get(id);
    // Who made it has heard of its end on another way already.
    if (id !== undefined && leadsTo === undefined && this.#blocks.mayBeRouted(id)) return;
    const isTheirs = id !== srcId && leadsTo !== undefined && (this.#isStandIn(leadsTo) ? this.#blocks.holds(srcId, leadsTo.remoteId) : leadsTo.remoteId === srcId);
    if (id === undefined || !isTheirs) this.#refuse(message, id === undefined ? 'it is not valid' : `${String(id)} does not lie behind context ${String(srcId)}`);
    else this.#router.removeRoutes([id], srcId);
  }

  /** Whether a route leads to what keeps messages for a context that is not there yet (src/parent/via/via-connection.ts). */
  #isStandIn(leadsTo: Stream): boolean {
    return !this.#router.streams.has(leadsTo);
  }

  #refuse(message: Message, why: string): void {
    this.#traffic.offence(message, message.srcId, 'bad-route', `bad route: ${why}`);
  }
}

/** What a child announces; undefined when it is not valid. */
function decodeAnnouncement({ data, tail }: Message): RouteAnnouncement | undefined {
  try {
    const value = decodeValue(data, tail);
    const [id, name, via, nodeVersion] = Array.isArray(value) ? (value as unknown[]) : [];
    if (typeof id !== 'number' || typeof name !== 'string' || name.length > MAX_NAME) return undefined;
    if (via === undefined) return [id, name];
    if (typeof via !== 'number') return undefined;
    if (nodeVersion === undefined) return [id, name, via];
    return typeof nodeVersion === 'string' && NODE_VERSION.test(nodeVersion) ? [id, name, via, nodeVersion] : undefined;
  } catch {
    return undefined;
  }
}
