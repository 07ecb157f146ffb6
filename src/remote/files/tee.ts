/** Values that the slowest branch may have waiting: as many may the fastest be ahead of it. */
const AHEAD = 32;

interface Branch<T> {
  readonly waiting: T[];
  asking: { readonly resolve: (result: IteratorResult<T, undefined>) => void; readonly reject: (error: unknown) => void } | undefined;
}

/**
 * One source for many readers: each value is asked for once, and given to all. The slowest holds the others back; one that
 * leaves does not. When all have left, so has the source.
 */
export class Tee<T> {
  readonly #source: AsyncIterator<T, undefined>;
  readonly #branches = new Set<Branch<T>>();
  #pulling = false;
  #end: { readonly error?: unknown } | undefined;

  constructor(source: AsyncIterable<T>) {
    this.#source = source[Symbol.asyncIterator]() as AsyncIterator<T, undefined>;
  }

  /** A reader. All of them are to be made before the first one asks for a value. */
  branch(): AsyncIterableIterator<T, undefined, undefined> {
    const branch: Branch<T> = { waiting: [], asking: undefined };
    this.#branches.add(branch);
    const iterator: AsyncIterableIterator<T, undefined, undefined> = {
      next: () =>
        new Promise((resolve, reject) => {
          branch.asking = { resolve, reject };
          this.#answer(branch);
          void this.#pull();
        }),
      return: async () => {
        if (this.#branches.delete(branch)) {
          branch.waiting.length = 0;
          branch.asking?.resolve({ done: true, value: undefined });
          branch.asking = undefined;
          if (this.#branches.size === 0 && this.#end === undefined) {
            this.#end = {};
            await this.#source.return?.();
          }
          void this.#pull();
        }
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  async #pull(): Promise<void> {
    if (this.#pulling) return;
    this.#pulling = true;
    try {
      while (this.#end === undefined && [...this.#branches].every(({ waiting }) => waiting.length < AHEAD)) {
        const step = await this.#source.next();
        if (step.done === true) this.#end ??= {};
        else for (const { waiting } of this.#branches) waiting.push(step.value);
        for (const branch of this.#branches) this.#answer(branch);
      }
    } catch (error) {
      this.#end ??= { error };
      for (const branch of this.#branches) this.#answer(branch);
    } finally {
      this.#pulling = false;
    }
  }

  #answer(branch: Branch<T>): void {
    const { asking, waiting } = branch;
    if (asking === undefined || (waiting.length === 0 && this.#end === undefined)) return;
    branch.asking = undefined;
    if (waiting.length > 0) asking.resolve({ done: false, value: waiting.shift() as T });
    else if (this.#end !== undefined && 'error' in this.#end) asking.reject(this.#end.error);
    else asking.resolve({ done: true, value: undefined });
  }
}
