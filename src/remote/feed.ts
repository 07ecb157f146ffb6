interface Asking<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * An async iterator that is fed from outside. By hand, where a generator would be shorter: that one does not hear of
 * `return()` while it waits.
 */
export class Feed<T> implements AsyncIterableIterator<T, undefined, undefined> {
  readonly #values: T[] = [];
  readonly #asking: Asking<T>[] = [];
  #end: { readonly error?: unknown } | undefined;
  readonly #onReturn: () => Promise<void> | void;
  readonly #onAsked: () => void;

  /**
   * @param onReturn - whoever reads has left before the end; waited for
   * @param onAsked - a value was asked for, and perhaps taken
   */
  constructor(onReturn: () => Promise<void> | void, onAsked: () => void = () => undefined) {
    this.#onReturn = onReturn;
    this.#onAsked = onAsked;
  }

  /** Values that wait. */
  get values(): readonly T[] {
    return this.#values;
  }

  /** Nothing comes behind the end. */
  push(value: T): void {
    if (this.#end) return;
    this.#values.push(value);
    this.#answer();
  }

  /** Takes back the last value that waits. */
  pop(): void {
    this.#values.pop();
  }

  /** The first end counts. An error comes once, behind what waits. */
  end(failure?: { readonly error: unknown }): void {
    this.#end ??= failure ?? {};
    this.#answer();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#asking.push({ resolve, reject });
      this.#answer();
      this.#onAsked();
    });
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    const early = this.#end === undefined;
    this.#values.length = 0;
    this.#end = {};
    this.#answer();
    if (early) await this.#onReturn();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #answer(): void {
    while (this.#asking.length > 0 && (this.#values.length > 0 || this.#end)) {
      const asking = this.#asking.shift();
      if (this.#values.length > 0) asking?.resolve({ done: false, value: this.#values.shift() as T });
      else if (this.#end && 'error' in this.#end) {
        asking?.reject(this.#end.error);
        this.#end = {};
      } else asking?.resolve({ done: true, value: undefined });
    }
  }
}

/** An iterator that tells of its end: with the error, where it is one. */
export function watched<T>(iterator: AsyncIterableIterator<T, undefined, undefined>, onEnd: (failure?: { readonly error: unknown }) => void): AsyncIterableIterator<T, undefined, undefined> {
  return {
    next: async () => {
      try {
        const step = await iterator.next();
        if (step.done === true) onEnd();
        return step;
      } catch (error) {
        onEnd({ error });
        throw error;
      }
    },
    return: async () => {
      onEnd();
      return (await iterator.return?.()) ?? { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
