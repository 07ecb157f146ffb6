/** Context IDs from `start` up to, not including, `end`. */
export type IdRange = readonly [start: number, end: number];

/** The largest context ID: the header has 16 bits for it. The master is 0. */
export const MAX_ID = 0xffff;

/** How many IDs there are in ranges. */
export function countIds(ranges: readonly IdRange[]): number {
  return ranges.reduce((sum, [start, end]) => sum + end - start, 0);
}

/** A first in, first out list; taking from the front costs the same however long it is. */
class Queue<T> {
  #items: T[] = [];
  #head = 0;

  first(): T | undefined {
    return this.#items[this.#head];
  }

  last(): T | undefined {
    return this.#items.length > this.#head ? this.#items[this.#items.length - 1] : undefined;
  }

  replaceFirst(item: T): void {
    this.#items[this.#head] = item;
  }

  replaceLast(item: T): void {
    this.#items[this.#items.length - 1] = item;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  items(): readonly T[] {
    return this.#items.slice(this.#head);
  }

  drop(): void {
    this.#head++;
    if (this.#head < 1024 || this.#head * 2 < this.#items.length) return;
    this.#items = this.#items.slice(this.#head);
    this.#head = 0;
  }
}

/**
 * IDs that a context may give away. One that comes back rests for a while before it is given again, for messages to the
 * context that had it may still be under way; then those longest out of use go first.
 */
export class IdPool {
  readonly #now: () => number;
  readonly #restMs: number;
  readonly #free = new Queue<IdRange>();
  /** In the order of their return, and so of the end of their rest. */
  readonly #resting = new Queue<{ readonly until: number; readonly range: IdRange }>();
  #freeCount = 0;
  #restingCount = 0;

  /**
   * @param now - the time in milliseconds
   * @param restMs - for how long an ID that came back is not given away
   */
  constructor(now: () => number, restMs: number) {
    this.#now = now;
    this.#restMs = restMs;
  }

  /** How many IDs can be taken now. */
  get free(): number {
    this.#wake();
    return this.#freeCount;
  }

  /** How many IDs rest. */
  get resting(): number {
    this.#wake();
    return this.#restingCount;
  }

  /** Takes in IDs that were never used, or have rested elsewhere. */
  add(range: IdRange): void {
    this.#freeCount += range[1] - range[0];
    const last = this.#free.last();
    if (last?.[1] === range[0]) this.#free.replaceLast([last[0], range[1]]);
    else this.#free.push(range);
  }

  /** Takes back IDs that were in use. */
  release(range: IdRange): void {
    this.#restingCount += range[1] - range[0];
    this.#resting.push({ until: this.#now() + this.#restMs, range });
  }

  /** Whether an ID is here, free or at rest. */
  has(id: number): boolean {
    const covers = ([start, end]: IdRange): boolean => start <= id && id < end;
    return this.#free.items().some(covers) || this.#resting.items().some(({ range }) => covers(range));
  }

  /** Up to `count` IDs, in as few ranges as there are. */
  take(count: number): IdRange[] {
    this.#wake();
    const taken: IdRange[] = [];
    for (let missing = count; missing > 0;) {
      const first = this.#free.first();
      if (first === undefined) break;
      const [start, end] = first;
      const split = Math.min(end, start + missing);
      taken.push([start, split]);
      missing -= split - start;
      this.#freeCount -= split - start;
      if (split < end) this.#free.replaceFirst([split, end]);
      else this.#free.drop();
    }
    return taken;
  }

  /** Those that have rested long enough can be taken. */
  #wake(): void {
    const now = this.#now();
    for (let next = this.#resting.first(); next !== undefined && next.until <= now; next = this.#resting.first()) {
      this.#resting.drop();
      this.#restingCount -= next.range[1] - next.range[0];
      this.add(next.range);
    }
  }
}
