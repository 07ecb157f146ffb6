import { Feed } from '../feed.ts';

/** Values that the slowest branch may have waiting: as many may the fastest be ahead of it. */
const AHEAD = 32;

/**
 * One source for many readers: each value is asked for once, and given to all. The slowest holds the others back; one that
 * leaves does not. When all have left, so has the source.
 */
export class Tee<T> {
  readonly #source: AsyncIterator<T, undefined>;
  readonly #branches = new Set<Feed<T>>();
  #pulling = false;
  #over = false;

  constructor(source: AsyncIterable<T>) {
    this.#source = source[Symbol.asyncIterator]() as AsyncIterator<T, undefined>;
  }

  /** A reader. All of them are to be made before the first one asks for a value. */
  branch(): AsyncIterableIterator<T, undefined, undefined> {
    const branch: Feed<T> = new Feed<T>(
      () => this.#leave(branch),
      () => void this.#pull(),
    );
    this.#branches.add(branch);
    return branch;
  }

  async #leave(branch: Feed<T>): Promise<void> {
    if (!this.#branches.delete(branch) || this.#over) return;
    if (this.#branches.size > 0) {
      void this.#pull();
      return;
    }
    this.#over = true;
    await this.#source.return?.();
  }

  async #pull(): Promise<void> {
    if (this.#pulling) return;
    this.#pulling = true;
    try {
      while (!this.#over && [...this.#branches].every(({ values }) => values.length < AHEAD)) {
        const step = await this.#source.next();
        if (step.done === true) this.#end();
        else for (const branch of this.#branches) branch.push(step.value);
      }
    } catch (error) {
      this.#end({ error });
    } finally {
      this.#pulling = false;
    }
  }

  #end(failure?: { readonly error: unknown }): void {
    this.#over = true;
    for (const branch of this.#branches) branch.end(failure);
  }
}
