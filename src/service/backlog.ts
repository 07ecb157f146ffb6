/** What may wait of one caller: arguments of its calls, and values of its streams. */
export interface Backlog {
  /** Notes that so many bytes wait; false, and nothing is noted, when that is too much. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

interface ObservableLike {
  subscribe(observer: { next(value: unknown): void; error(error: unknown): void; complete(): void }): { unsubscribe(): void };
}

/** What a value costs beside its bytes. */
const OVERHEAD = 1024;
/** How deep is looked for bytes. */
const DEPTH = 4;

/** Bytes of a value in memory, about. */
function sizeOf(value: unknown, depth = DEPTH): number {
  if (typeof value === 'string') return 2 * value.length;
  if (typeof value !== 'object' || value === null) return 8;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength;
  if (depth === 0) return 64;
  const items: Iterable<unknown> = value instanceof Map || value instanceof Set ? value.values() : Object.values(value);
  let bytes = 64;
  for (const item of items) bytes += sizeOf(item, depth - 1);
  return bytes;
}

/**
 * A stream for a caller that is not to be trusted: what it does not acknowledge waits here, and counts for all its calls
 * together. What can be paused waits at its source.
 *
 * @param overflow - makes the error for too much
 */
export function bounded(value: unknown, backlog: Backlog, overflow: () => Error): unknown {
  if (typeof value !== 'object' || value === null || Symbol.asyncIterator in value) return value;
  if (typeof (value as { then?: unknown }).then === 'function') return (value as PromiseLike<unknown>).then((settled) => bounded(settled, backlog, overflow));
  if (typeof (value as { subscribe?: unknown }).subscribe !== 'function') return value;
  return { [Symbol.asyncIterator]: () => new Waiting(value as ObservableLike, backlog, overflow) };
}

/** The values of an observable that have not been asked for. */
class Waiting implements AsyncIterator<unknown, undefined> {
  readonly #backlog: Backlog;
  readonly #values: (readonly [value: unknown, bytes: number])[] = [];
  readonly #source: { unsubscribe(): void };
  #asked: { resolve(step: IteratorResult<unknown, undefined>): void; reject(error: unknown): void } | undefined;
  /** How it ends, behind the values; `error` is absent for an orderly end. */
  #end: { readonly error?: unknown } | undefined;

  constructor(observable: ObservableLike, backlog: Backlog, overflow: () => Error) {
    this.#backlog = backlog;
    this.#source = observable.subscribe({
      next: (value) => {
        this.#take(value, overflow);
      },
      error: (error) => {
        this.#finish({ error });
      },
      complete: () => {
        this.#finish({});
      },
    });
    if (this.#end) this.#source.unsubscribe();
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    const first = this.#values.shift();
    if (first !== undefined) {
      this.#backlog.give(first[1]);
      return Promise.resolve({ done: false, value: first[0] });
    }
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject };
      if (this.#end) this.#finish(this.#end);
    });
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    this.#source.unsubscribe();
    for (const [, bytes] of this.#values.splice(0)) this.#backlog.give(bytes);
    this.#finish({});
    return Promise.resolve({ done: true, value: undefined });
  }

  #take(value: unknown, overflow: () => Error): void {
    if (this.#end) return;
    const asked = this.#asked;
    if (asked) {
      this.#asked = undefined;
      asked.resolve({ done: false, value });
      return;
    }
    const bytes = sizeOf(value) + OVERHEAD;
    if (this.#backlog.take(bytes)) this.#values.push([value, bytes]);
    else {
      this.#finish({ error: overflow() });
      // Undefined while it emits before subscribe() has returned; the constructor sees to that.
      (this.#source as { unsubscribe(): void } | undefined)?.unsubscribe();
    }
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#end ??= end;
    const asked = this.#asked;
    if (asked === undefined) return;
    this.#asked = undefined;
    if ('error' in this.#end) asked.reject(this.#end.error);
    else asked.resolve({ done: true, value: undefined });
  }
}
