// A tree of real routers and streams in one process, over links in memory and in virtual time.
import { VirtualBroker } from '../../dist/core/broker/virtual-broker.js';
import { virtualLinks } from '../../dist/core/broker/virtual-link.js';
import { Router } from '../../dist/core/routing/router.js';
import { Stream } from '../../dist/core/routing/stream.js';
import { ChildRouting } from '../../dist/parent/routing/child-routing.js';
import { MAX_ID } from '../../dist/parent/routing/id-pool.js';

const MAX_MESSAGE = 1024 * 1024;

export class SimulatedTree {
  broker = new VirtualBroker();
  root = this.#node(0, undefined);
  faults = 0;

  constructor() {
    this.broker.faults.subscribe(() => { this.faults++; });
    this.#raise(this.root);
  }

  /** A context below `parent`; `born` gets it when it has its ID, `failed` the error. */
  connect(parent, born, failed) {
    const { ids, routes } = this.#raise(parent);
    ids.allocate().subscribe({
      next: (id) => {
        const node = this.#node(id, parent);
        const links = virtualLinks(this.broker);
        const down = new Stream(this.broker, id, MAX_MESSAGE);
        const up = new Stream(this.broker, parent.router.id, MAX_MESSAGE);
        node.links = links;
        routes.attach(down, `c${id}`);
        parent.children.add(node);
        down.closed.subscribe(() => {
          parent.children.delete(node);
          ids.release(id);
        });
        parent.router.add(down);
        node.router.table.parent = up;
        node.router.add(up);
        up.closed.subscribe(() => {
          this.#die(node);
        });
        parent.router.open(down, links.left);
        node.router.open(up, links.right);
        born(node);
      },
      error: failed,
    });
  }

  /** The connection of a context to its parent is lost, with all that is behind it. */
  drop(node) {
    node.links.lose();
  }

  /** What is left in the root: streams, routes, names, holders, IDs that are in use, timers. */
  get left() {
    const { router, routing } = this.root;
    const { free, used, holders } = routing.ids.counts;
    const routes = Array.from({ length: MAX_ID }, (_, id) => router.table.get(id)).filter((stream) => stream !== undefined).length;
    return router.streams.size + routes + routing.routes.size + router.stats().length + used + holders + (MAX_ID - free) + this.broker.pending + this.faults;
  }

  #node(id, parent) {
    const router = new Router(this.broker, { id, parentIds: parent ? [parent.router.id, ...parent.router.parentIds] : [], maxMessageSize: MAX_MESSAGE });
    return { router, depth: parent ? parent.depth + 1 : 0, children: new Set(), alive: true };
  }

  #raise(node) {
    node.routing ??= new ChildRouting(node.router, { ...(node === this.root && { ids: [[1, MAX_ID + 1]] }), warn: () => { this.faults++; } });
    return node.routing;
  }

  #die(node) {
    node.alive = false;
    node.router.close();
    for (const stream of node.router.streams) stream.disconnect();
  }
}
