import { expect } from '@jest/globals';
import { seededRandom, seededSplitter } from '../../src/core/broker/seeded.ts';
import type { Fault } from '../../src/core/broker/broker.ts';
import { VirtualBroker } from '../../src/core/broker/virtual-broker.ts';
import { virtualLinks } from '../../src/core/broker/virtual-link.ts';
import { hasParentAuthority } from '../../src/core/mailbox/policy.ts';
import { Stream } from '../../src/core/routing/stream.ts';
import { IS_DEAD } from '../../src/core/wire/frame.ts';
import type { Message } from '../../src/core/wire/frame.ts';
import { DEL_ROUTE, SHUTDOWN } from '../../src/core/wire/handles.ts';
import { deadError, encodeValue } from '../../src/core/wire/values.ts';
import type { ChildRouting, ChildRoutingOptions } from '../../src/parent/routing/child-routing.ts';
import { MAX_ID } from '../../src/parent/routing/id-pool.ts';
import { VirtualNode } from './virtual-tree.ts';
import type { NodeHost } from './virtual-tree.ts';

const MAX_MESSAGE = 1024 * 1024;

/** What a tree is like. The options of routing hold in all of its contexts. */
export interface LiveTreeOptions extends Omit<ChildRoutingOptions, 'warn' | 'ids'> {
  readonly seed?: number;
  /** Latencies are drawn from 0 to this many milliseconds. Default 10. */
  readonly latencyMs?: number;
  /** IDs that the root has. Default: all. */
  readonly ids?: number;
  /** Called for each context that begins. */
  readonly onBorn?: (node: VirtualNode) => void;
}

/** A context that was asked for. */
export interface Birth {
  node?: VirtualNode;
  error?: Error;
}

/** A tree in virtual time whose contexts come and go as those of programs do: by IDs, announcements and the ends of links. */
export class LiveTree implements NodeHost {
  readonly broker = new VirtualBroker();
  readonly graceMs = 200;
  readonly faults: Fault[] = [];
  readonly root: VirtualNode;
  /** Every context that ever was, the root first. */
  readonly made: VirtualNode[] = [];
  readonly #options: LiveTreeOptions;
  readonly #random: () => number;

  constructor(options: LiveTreeOptions = {}) {
    this.#options = options;
    this.#random = seededRandom(options.seed ?? 1);
    this.broker.faults.subscribe((fault) => this.faults.push(fault));
    this.root = new VirtualNode(this, 0, undefined, undefined, MAX_MESSAGE);
    this.made.push(this.root);
    this.#raise(this.root);
  }

  get alive(): readonly VirtualNode[] {
    return this.made.filter(({ alive }) => alive);
  }

  /** A context below `parent`, which allocates its ID. It may take its time. */
  connect(parent: VirtualNode): Birth {
    const birth: Birth = {};
    const routing = this.#raise(parent);
    routing.ids.allocate().subscribe({
      next: (id) => {
        birth.node = this.attach(parent, id);
        birth.node.ended = () => {
          routing.ids.release(id);
        };
      },
      error: (error: Error) => {
        birth.error = error;
      },
    });
    return birth;
  }

  /** The same, at once. */
  born(parent: VirtualNode): VirtualNode {
    const birth = this.connect(parent);
    this.broker.run();
    if (birth.node === undefined) throw birth.error ?? new Error('nothing came of it');
    return birth.node;
  }

  /** A chain of contexts, each below the one before. */
  chain(from: VirtualNode, length: number): VirtualNode[] {
    const nodes: VirtualNode[] = [];
    for (let at = from; nodes.length < length; nodes.push(at)) at = this.born(at);
    return nodes;
  }

  /** A context of this ID below `parent`, as when a parent of it has asked for one. */
  attach(parent: VirtualNode, id: number): VirtualNode {
    const latencyMs = this.#options.latencyMs ?? 10;
    const uplink = virtualLinks(this.broker, { latencyMs: () => Math.floor(this.#random() * (latencyMs + 1)), split: seededSplitter(id, 40) });
    const node = new VirtualNode(this, id, parent, uplink, MAX_MESSAGE);
    const down = new Stream(this.broker, id, MAX_MESSAGE);
    const up = new Stream(this.broker, parent.id, MAX_MESSAGE);
    this.#raise(parent).routes.attach(down, `c${String(id)}`);
    parent.children.push(node);
    parent.streams.set(id, down);
    node.streams.set(parent.id, up);
    down.closed.subscribe(() => {
      parent.children.splice(parent.children.indexOf(node), 1);
      parent.streams.delete(id);
      node.ended();
    });
    parent.router.add(down);
    node.router.table.parent = up;
    node.router.add(up);
    node.router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: () => { node.shutdown(); } });
    up.closed.subscribe(() => {
      node.shutdown();
    });
    parent.router.open(down, uplink.left);
    node.router.open(up, uplink.right);
    this.made.push(node);
    this.#options.onBorn?.(node);
    return node;
  }

  /** The way to each context that lives behind `node`. */
  liveRoutes(node: VirtualNode): Map<number, Stream> {
    return new Map(node.children.flatMap((child) => child.subtree.map(({ id }) => [id, node.streams.get(child.id)!] as const)));
  }

  /** What the table of `node` says. */
  routes(node: VirtualNode): Map<number, Stream> {
    return new Map([...node.router.streams].flatMap((stream) => node.router.table.via(stream).map((id) => [id, stream] as const)));
  }

  #raise(node: VirtualNode): ChildRouting {
    const { ids = MAX_ID, edge, quotas, quarantineMs } = this.#options;
    return node.raise({ ...(node === this.root && { ids: [[1, ids + 1]] }), edge, quotas, ...(quarantineMs !== undefined && { quarantineMs }) });
  }
}

/** Sends a value from one context to a neighbour, whatever the source claims. */
export function say(from: VirtualNode, to: VirtualNode, handle: number, value: unknown, fields: Partial<Message> = {}): void {
  from.inject(to, { dstId: to.id, srcId: from.id, handle, replyTo: 0, ...fields, data: encodeValue(value).data });
}

/** Sends DEL_ROUTE. */
export function sayGone(from: VirtualNode, to: VirtualNode, id: number): void {
  const data = Buffer.alloc(2);
  data.writeUInt16BE(id);
  from.inject(to, { dstId: to.id, srcId: from.id, handle: DEL_ROUTE, replyTo: 0, data });
}

/** Texts of the dead messages that a handle gets. */
export function deadTexts(node: VirtualNode, handle: number, respondent: number): string[] {
  const found: string[] = [];
  node.listen(handle, { respondent }, (message) => {
    if (message.replyTo === IS_DEAD) found.push(deadError(message.data).message);
  });
  return found;
}

/**
 * The tree of the document: master - bastion - dc1 - rack12 - node12b - webapp, and bastion - dc2 - rack22 - node22a - webapp.
 */
export function dataCentres(tree = new LiveTree()): { tree: LiveTree; master: VirtualNode; bastion: VirtualNode; left: VirtualNode[]; right: VirtualNode[]; all: VirtualNode[] } {
  const bastion = tree.born(tree.root);
  const left = tree.chain(bastion, 4);
  const right = tree.chain(bastion, 4);
  return { tree, master: tree.root, bastion, left, right, all: [tree.root, bastion, ...left, ...right] };
}

/** Each table has the ways to what lives behind its context, and no others. */
export function expectLiveRoutes(tree: LiveTree): void {
  for (const node of tree.alive) expect([node.id, tree.routes(node)]).toEqual([node.id, tree.liveRoutes(node)]);
}
