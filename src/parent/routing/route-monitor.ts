import { isImmediateChild } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { ADD_ROUTE, DEL_ROUTE } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import { sendValue } from '../modules/send.ts';
import { goneId, sendDelRoute } from './del-route.ts';
import type { IdBlocks } from './id-blocks.ts';
import type { Traffic } from './traffic.ts';

/** Characters of the name of a context that are told to others. */
const MAX_NAME = 256;

/** Payload of ADD_ROUTE. */
export type RouteAnnouncement = readonly [id: number, name: string];

/**
 * Keeps the routes of a context with children (Mitogen's RouteMonitor): tells the parent of each context that comes and
 * goes behind it, and takes such news from its children as far as they may give it.
 */
export class RouteMonitor {
  readonly #router: Router;
  readonly #blocks: IdBlocks;
  readonly #traffic: Traffic;
  readonly #names = new Map<number, string>();

  constructor(router: Router, blocks: IdBlocks, traffic: Traffic) {
    this.#router = router;
    this.#blocks = blocks;
    this.#traffic = traffic;
    router.addHandler(ADD_ROUTE, { policy: isImmediateChild, deliver: (message) => { this.#onAddRoute(message); } });
    // In the place of the core's, which hears its parent only.
    router.removeHandler(DEL_ROUTE);
    router.addHandler(DEL_ROUTE, { policy: (message, scope) => message.srcId === router.id || isImmediateChild(message, scope), deliver: (message) => { this.#onDelRoute(message); } });
    router.events.subscribe((event) => {
      if (event.type === 'route-removed') this.#names.delete(event.id);
    });
  }

  /** How many contexts behind this one have a name here. For leak checks. */
  get size(): number {
    return this.#names.size;
  }

  /** The contexts behind this one, with the names that they were announced with. */
  get names(): (readonly [id: number, name: string])[] {
    return [...this.#names];
  }

  /** The name that a context behind this one was announced with. */
  nameOf(id: number): string | undefined {
    return this.#names.get(id);
  }

  /**
   * A child of this context begins, connected or not: what is for it waits in its stream. Announces it above, which the
   * end of the stream takes back. False when its ID leads elsewhere already.
   */
  attach(stream: Stream, name: string): boolean {
    if (!this.#router.table.add(stream.remoteId, stream)) return false;
    this.#announce(stream.remoteId, stream, name.slice(0, MAX_NAME));
    return true;
  }

  /** Takes back an ID that was granted for one context, which never came to be. */
  withdraw(id: number): void {
    sendDelRoute(this.#router, id);
  }

  #announce(id: number, via: Stream, name: string): void {
    this.#names.set(id, name);
    this.#router.emit({ type: 'route-added', id, via: via.remoteId, name });
    const { parent } = this.#router.table;
    if (parent !== undefined) sendValue(this.#router, parent.remoteId, ADD_ROUTE, [id, name] satisfies RouteAnnouncement);
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
    const [id, name] = announced;
    const known = table.get(id);
    if (!this.#blocks.holds(child.remoteId, id)) this.#refuse(message, `${String(id)} was not granted to context ${String(message.srcId)}`);
    else if (known !== undefined && known !== child && !this.#isStandIn(known)) this.#refuse(message, `${String(id)} is reached through context ${String(known.remoteId)}`);
    else if (!this.#names.has(id)) {
      if (known === undefined) table.add(id, child);
      this.#announce(id, child, name);
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
    const leadsTo = id === undefined || id === srcId ? undefined : this.#router.table.get(id);
    const isTheirs = leadsTo !== undefined && (this.#isStandIn(leadsTo) ? this.#blocks.holds(srcId, leadsTo.remoteId) : leadsTo.remoteId === srcId);
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
    const [id, name] = Array.isArray(value) ? (value as unknown[]) : [];
    return typeof id === 'number' && typeof name === 'string' && name.length <= MAX_NAME ? [id, name] : undefined;
  } catch {
    return undefined;
  }
}
