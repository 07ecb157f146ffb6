import { IS_DEAD } from '../src/core/wire/frame.ts';
import type { LiveTree } from '../test/support/live-tree.ts';
import type { VirtualNode } from '../test/support/virtual-tree.ts';

/** What should become of a message. */
export type Fate = { readonly kind: 'delivered'; readonly to: VirtualNode } | { readonly kind: 'dead' | 'refused' | 'dropped' };

/**
 * What the routes of a tree should be, kept beside it by the rules of docs/protocol.md, when each step has come to rest
 * before the next. It knows the contexts and their links; of the tree's own state it asks only which IDs a child holds.
 */
export class TreeModel {
  readonly #tables = new Map<VirtualNode, Map<number, VirtualNode>>();
  readonly #unidirectional: boolean;

  constructor(root: VirtualNode, isUnidirectional: boolean) {
    this.#tables.set(root, new Map());
    this.#unidirectional = isUnidirectional;
  }

  /** The direct child through which each ID is reached, by context. */
  table(node: VirtualNode): Map<number, VirtualNode> {
    return this.#tables.get(node) ?? new Map<number, VirtualNode>();
  }

  connected(node: VirtualNode): void {
    this.#tables.set(node, new Map());
    if (node.parent === undefined) return;
    this.table(node.parent).set(node.id, node);
    this.#announce(node.parent, node.id);
  }

  dropped(node: VirtualNode): void {
    const { parent } = node;
    if (parent === undefined) return;
    for (const [id, via] of [...this.table(parent)]) if (via === node) this.#remove(parent, id);
    for (const gone of node.subtree) this.#tables.delete(gone);
  }

  /** A context says that one is behind it. */
  announces(from: VirtualNode, id: number): void {
    const { parent } = from;
    if (parent?.routing?.ids.holds(from.id, id) !== true || this.table(parent).has(id)) return;
    this.table(parent).set(id, from);
    this.#announce(parent, id);
  }

  /** A context says that one behind it is gone. */
  takesBack(from: VirtualNode, id: number): void {
    const { parent } = from;
    if (parent !== undefined && id !== from.id && this.table(parent).get(id) === from) this.#remove(parent, id);
  }

  /** What becomes of a message that arrives at a context from a neighbour, or is made there. */
  fate(at: VirtualNode, srcId: number, dstId: number, from: VirtualNode | undefined): Fate {
    const expected = srcId === at.id ? undefined : (this.table(at).get(srcId) ?? at.parent);
    if (expected !== from) return { kind: 'dropped' };
    if (dstId === at.id) return { kind: 'delivered', to: at };
    const next = this.table(at).get(dstId) ?? at.parent;
    if (next === undefined || next === from) return { kind: 'dead' };
    if (this.#unidirectional && from !== undefined && from !== at.parent && next !== at.parent) return { kind: 'refused' };
    return this.fate(next, srcId, dstId, at);
  }

  #announce(from: VirtualNode, id: number): void {
    const { parent } = from;
    if (parent === undefined || this.table(parent).has(id)) return;
    this.table(parent).set(id, from);
    this.#announce(parent, id);
  }

  #remove(at: VirtualNode, id: number): void {
    this.table(at).delete(id);
    if (at.parent !== undefined && this.table(at.parent).get(id) === at) this.#remove(at.parent, id);
  }
}

/** A line for each step, for the one who reads a counterexample. */
export class Story {
  readonly #tree: LiveTree;
  readonly #lines: string[] = [];

  constructor(tree: LiveTree) {
    this.#tree = tree;
  }

  tell(line: string): void {
    this.#lines.push(`  ${String(this.#tree.broker.now()).padStart(6)} ms  ${line}`);
  }

  /** Runs what asserts something; an error that it throws tells the story. */
  check<R>(assertion: () => R): R {
    try {
      return assertion();
    } catch (error) {
      if (error instanceof Error) error.message = `${error.message}\n\nWhat happened:\n${this.#lines.join('\n')}\n\nWho lives: ${this.#tree.alive.map((node) => node.lineage.map(({ id }) => id).reverse().join('/')).join(', ')}`;
      throw error;
    }
  }
}

/** Notes what arrives on a handle: the verified source and the text. */
export function collect(node: VirtualNode, handle: number, take: (srcId: number, text: string) => void): void {
  node.listen(handle, undefined, ({ srcId, replyTo, data }) => {
    if (replyTo !== IS_DEAD) take(srcId, Buffer.from(data).toString());
  });
}
