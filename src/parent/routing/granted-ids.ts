import { MAX_ID, countIds } from './id-pool.ts';
import type { IdRange } from './id-pool.ts';

/** What one direct child holds. */
interface Holding {
  readonly blocks: IdRange[];
  /** IDs for one context each, which end with it. */
  readonly singles: Set<number>;
  /** IDs in blocks that contexts were announced with, so that others may know of them. */
  readonly announced: Set<number>;
}

/** Blocks that come back. */
export interface ReturnedIds {
  /** IDs that contexts had. */
  readonly used: readonly IdRange[];
  /** IDs that nobody outside has heard of. */
  readonly unused: readonly IdRange[];
}

/** Which direct child holds which IDs, for itself and all that is behind it. Tells nobody, and allocates nothing. */
export class GrantedIds {
  readonly #children = new Map<number, Holding>();
  /** For each ID the child that holds it; 0 for none. Looking up costs the same however much a child holds. */
  #holders: Uint16Array | undefined;

  /** The child that holds an ID. */
  holder(id: number): number | undefined {
    const childId = this.#holders?.[id] ?? 0;
    return childId === 0 ? undefined : childId;
  }

  /** How many IDs a child holds in blocks. */
  inBlocks(childId: number): number {
    return countIds(this.#children.get(childId)?.blocks ?? []);
  }

  /** How many children hold something. */
  get size(): number {
    return this.#children.size;
  }

  /** Gives a child a block that it allocates from. */
  addBlock(childId: number, range: IdRange): void {
    this.#of(childId).blocks.push(range);
    this.#holders?.fill(childId, ...range);
  }

  /** Gives a child the ID of one context that will be behind it; false when another holds it. */
  addSingle(childId: number, id: number): boolean {
    if (this.holder(id) !== undefined) return false;
    this.#of(childId).singles.add(id);
    this.#holders?.fill(childId, id, id + 1);
    return true;
  }

  /** The context of a single ID is gone; false when it was none. */
  endSingle(id: number): boolean {
    const childId = this.holder(id);
    if (childId === undefined) return false;
    const holding = this.#of(childId);
    if (!holding.singles.delete(id)) return false;
    this.#holders?.fill(0, id, id + 1);
    this.#forgetEmpty(childId, holding);
    return true;
  }

  /** Notes that a context with an ID from a block was announced. */
  announced(childId: number, id: number): void {
    const holding = this.#children.get(childId);
    if (holding?.singles.has(id) === false) holding.announced.add(id);
  }

  /** Takes everything from a child that is gone; gives its blocks. */
  takeAll(childId: number): ReturnedIds {
    const holding = this.#children.get(childId);
    if (holding === undefined) return { used: [], unused: [] };
    this.#children.delete(childId);
    for (const range of holding.blocks) this.#holders?.fill(0, ...range);
    for (const id of holding.singles) this.#holders?.fill(0, id, id + 1);
    const used: IdRange[] = [];
    const unused: IdRange[] = [];
    for (const [start, end] of holding.blocks) {
      let from = start;
      for (let id = start; id < end; id++) {
        if (!holding.announced.has(id)) continue;
        if (from < id) unused.push([from, id]);
        used.push([id, id + 1]);
        from = id + 1;
      }
      if (from < end) unused.push([from, end]);
    }
    return { used, unused };
  }

  #of(childId: number): Holding {
    this.#holders ??= new Uint16Array(MAX_ID + 1);
    let holding = this.#children.get(childId);
    if (holding === undefined) this.#children.set(childId, (holding = { blocks: [], singles: new Set(), announced: new Set() }));
    return holding;
  }

  #forgetEmpty(childId: number, { blocks, singles }: Holding): void {
    if (blocks.length === 0 && singles.size === 0) this.#children.delete(childId);
  }
}
