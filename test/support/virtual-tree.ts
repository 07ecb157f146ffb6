import { seededRandom, seededSplitter } from '../../src/core/broker/seeded.ts';
import { VirtualBroker } from '../../src/core/broker/virtual-broker.ts';
import { virtualLinks } from '../../src/core/broker/virtual-link.ts';
import type { VirtualLinks } from '../../src/core/broker/virtual-link.ts';
import { receiveStreams } from '../../src/core/call/consumer.ts';
import type { Fault } from '../../src/core/broker/broker.ts';
import { anyContext, hasParentAuthority } from '../../src/core/mailbox/policy.ts';
import type { MailboxScope } from '../../src/core/mailbox/mailbox.ts';
import { Router } from '../../src/core/routing/router.ts';
import type { Handler, RouterEvent } from '../../src/core/routing/router.ts';
import { Stream } from '../../src/core/routing/stream.ts';
import { shutdownChildren } from '../../src/core/shutdown.ts';
import { IS_DEAD } from '../../src/core/wire/frame.ts';
import type { Message } from '../../src/core/wire/frame.ts';
import { SHUTDOWN } from '../../src/core/wire/handles.ts';
import { deadError } from '../../src/core/wire/values.ts';
import { ChildRouting } from '../../src/parent/routing/child-routing.ts';
import type { ChildRoutingOptions } from '../../src/parent/routing/child-routing.ts';

/** What a tree is like. */
export interface TreeOptions {
  /** For the parent of each context but the first: an index into those before it, modulo their number. */
  readonly shape: readonly number[];
  /** Decides latencies and splits. */
  readonly seed?: number;
  /** Latencies are drawn from 0 to this many milliseconds. Default 10. */
  readonly latencyMs?: number;
  readonly volatile?: boolean;
  /** How long written bytes stay pending. */
  readonly takeMs?: number;
  /** Bytes that each link takes in a millisecond, or each of them, that to the second context first. Default: all at once. */
  readonly bytesPerMs?: number | readonly number[];
  /** Bytes of the largest chunk that is read. Default 40. */
  readonly chunkBytes?: number;
  readonly maxMessageSize?: number;
  /** Contexts that do nothing about SHUTDOWN, by index. */
  readonly deaf?: readonly number[];
  readonly graceMs?: number;
}

/** What nodes need of their tree. */
export interface NodeHost {
  readonly broker: VirtualBroker;
  readonly graceMs: number;
}

/** One context of a tree: a real router, in virtual time. */
export class VirtualNode {
  readonly id: number;
  readonly parent: VirtualNode | undefined;
  readonly router: Router;
  readonly children: VirtualNode[] = [];
  /** The connection to the parent, with the parent at its left; none in the root. */
  readonly uplink: VirtualLinks | undefined;
  readonly events: RouterEvent[] = [];
  /** Streams by the ID of the direct peer. */
  readonly streams = new Map<number, Stream>();
  alive = true;
  /** What its router has since it has children. */
  routing: ChildRouting | undefined;
  /** Offences of children that it would have logged. */
  readonly warnings: string[] = [];
  /** Called when the connection to the parent has ended there. */
  ended: () => void = () => undefined;
  readonly #tree: NodeHost;
  #ending = false;

  constructor(tree: NodeHost, id: number, parent: VirtualNode | undefined, uplink: VirtualLinks | undefined, maxMessageSize: number) {
    this.#tree = tree;
    this.id = id;
    this.parent = parent;
    this.uplink = uplink;
    this.router = new Router(tree.broker, { id, parentIds: parent ? [parent.id, ...parent.router.parentIds] : [], maxMessageSize });
    this.router.events.subscribe((event) => this.events.push(event));
  }

  /** Makes this a context that has children. */
  raise(options: Omit<ChildRoutingOptions, 'warn'> = {}): ChildRouting {
    return (this.routing ??= new ChildRouting(this.router, { ...options, warn: (text) => this.warnings.push(text) }));
  }

  /** From this context up to the root. */
  get lineage(): readonly VirtualNode[] {
    return this.parent ? [this, ...this.parent.lineage] : [this];
  }

  /** This context and all below it. */
  get subtree(): readonly VirtualNode[] {
    return [this, ...this.children.flatMap((child) => child.subtree)];
  }

  get scope(): MailboxScope {
    return receiveStreams<MailboxScope>({ router: this.router, reviver: { context: (id) => ({ id }), sender: (contextId, handle) => ({ contextId, handle }) } });
  }

  /** Sends a message of this context. */
  send(dstId: number, handle: number, data: string, replyTo = 0): void {
    this.router.send({ dstId, srcId: this.id, handle, replyTo, data: Buffer.from(data) });
  }

  /** Puts frames on the stream to a neighbour as they are, whatever they claim. */
  inject(neighbour: VirtualNode, message: Message): void {
    this.streams.get(neighbour.id)?.send(message);
  }

  /** Answers a handle and gives what arrives there: texts, and the reasons of dead messages in brackets. */
  listen(handle: number, options: Omit<Handler, 'deliver'> = { policy: anyContext }, onMessage: (message: Message) => void = () => undefined): string[] {
    const found: string[] = [];
    this.router.addHandler(handle, {
      ...options,
      deliver: (message) => {
        found.push(message.replyTo === IS_DEAD ? `[${deadError(message.data).reason}]` : `${String(message.srcId)}: ${Buffer.from(message.data).toString()}`);
        onMessage(message);
      },
    });
    return found;
  }

  /** The end of a context as a child does it: its children first, then its handlers, then its links. */
  shutdown(): void {
    if (this.#ending) return;
    this.#ending = true;
    shutdownChildren(this.router, this.#tree.graceMs).subscribe({
      complete: () => {
        this.die();
      },
    });
  }

  /** The end of a process: its handlers are told, its links close. */
  die(): void {
    if (!this.alive) return;
    this.alive = false;
    this.router.close();
    for (const stream of this.streams.values()) stream.disconnect();
  }
}

/** A tree of real routers and streams over links in memory. Call `broker.run()` to let things happen. */
export class VirtualTree {
  readonly broker = new VirtualBroker();
  readonly nodes: VirtualNode[] = [];
  readonly faults: Fault[] = [];
  readonly graceMs: number;
  readonly #sequence: string[] = [];

  constructor({ shape, seed = 1, latencyMs = 10, volatile = false, takeMs = 0, bytesPerMs = Infinity, chunkBytes = 40, maxMessageSize = 1024 * 1024, deaf = [], graceMs = 5000 }: TreeOptions) {
    this.graceMs = graceMs;
    this.broker.faults.subscribe((fault) => this.faults.push(fault));
    const random = seededRandom(seed);
    this.nodes.push(new VirtualNode(this, 0, undefined, undefined, maxMessageSize));
    for (const [index, choice] of shape.entries()) {
      const parent = this.node(choice % this.nodes.length);
      const uplink = virtualLinks(this.broker, { latencyMs: () => Math.floor(random() * (latencyMs + 1)), split: seededSplitter(seed + index, chunkBytes), volatile, takeMs, bytesPerMs: typeof bytesPerMs === 'number' ? bytesPerMs : (bytesPerMs[index] ?? Infinity) });
      const child = new VirtualNode(this, index + 1, parent, uplink, maxMessageSize);
      this.#connect(parent, child, uplink, maxMessageSize, deaf.includes(child.id));
      this.nodes.push(child);
    }
  }

  /** By ID, which is the index too. */
  node(id: number): VirtualNode {
    const found = this.nodes[id];
    if (found === undefined) throw new Error(`no context ${String(id)}`);
    return found;
  }

  /** What went over the links so far, as a mermaid sequence diagram. */
  get diagram(): string {
    return ['sequenceDiagram', ...this.#sequence].join('\n');
  }

  /** Runs what asserts something of this tree; an error that it throws shows what went over the links. */
  check<R>(assertion: () => R): R {
    try {
      return assertion();
    } catch (error) {
      if (error instanceof Error) error.message = `${error.message}\n\n${this.diagram}`;
      throw error;
    }
  }

  #connect(parent: VirtualNode, child: VirtualNode, links: VirtualLinks, maxMessageSize: number, deaf: boolean): void {
    const down = new Stream(this.broker, child.id, maxMessageSize);
    const up = new Stream(this.broker, parent.id, maxMessageSize);
    this.#trace(links, parent.id, child.id);
    parent.raise();
    for (const ancestor of parent.lineage) ancestor.router.table.add(child.id, ancestor === parent ? down : this.#via(ancestor, parent));
    parent.children.push(child);
    parent.streams.set(child.id, down);
    child.streams.set(parent.id, up);
    child.router.table.parent = up;
    parent.router.add(down);
    child.router.add(up);
    child.router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: () => { if (!deaf) child.shutdown(); } });
    up.closed.subscribe(() => {
      child.shutdown();
    });
    parent.router.open(down, links.left);
    child.router.open(up, links.right);
  }

  #via(ancestor: VirtualNode, parent: VirtualNode): Stream {
    const stream = ancestor.router.table.get(parent.id);
    if (stream === undefined) throw new Error(`context ${String(ancestor.id)} has no route to ${String(parent.id)}`);
    return stream;
  }

  #trace(links: VirtualLinks, parentId: number, childId: number): void {
    const note = (from: number, to: number) => (message: Message): void => {
      const kind = message.replyTo === IS_DEAD ? `dead ${Buffer.from(message.data).toString().slice(0, 40)}` : `reply ${String(message.replyTo)}`;
      this.#sequence.push(`  ${String(from)}->>${String(to)}: ${String(message.srcId)} to ${String(message.dstId)}, handle ${String(message.handle)}, ${kind}`);
    };
    links.left.note = note(parentId, childId);
    links.right.note = note(childId, parentId);
  }
}
