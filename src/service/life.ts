import type { CurrentCall } from '../core/call/current-call.ts';

/** How long something is wanted: as long as a call, or as long as there are any that share its result. */
export interface Life {
  /** Runs `work` at its end; at once when that has come. */
  then(work: () => void): void;
}

/** A call of a service, as the pool sees it: an Execution. */
export interface ServiceCall extends CurrentCall, Life {
  readonly key: number;
  cancel(): void;
}

/** Whether a result is a stream, which goes on after the method has returned. */
export function isStream(value: unknown): value is AsyncIterable<unknown> | { subscribe: unknown } {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || typeof (value as { subscribe?: unknown }).subscribe === 'function');
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/**
 * Runs `work`, and calls `release` once when all of it is over: its promise, and the stream that it gives. A cancelled call
 * ends at once, but what it has begun may go on, and that counts.
 */
export function watched(life: Life, release: () => void, work: () => unknown): unknown {
  let value: unknown;
  try {
    value = work();
  } catch (error) {
    release();
    throw error;
  }
  if (!isPromise(value)) return streamed(life, release, value);
  return value.then(
    (settled) => streamed(life, release, settled),
    (error: unknown) => {
      release();
      throw error;
    },
  );
}

function streamed(life: Life, release: () => void, value: unknown): unknown {
  if (!isStream(value)) {
    release();
    return value;
  }
  if (Symbol.asyncIterator in value) return watchedIterable(life, release, value);
  life.then(release);
  return value;
}

function watchedIterable(life: Life, release: () => void, iterable: AsyncIterable<unknown>): AsyncIterable<unknown> {
  let begun = false;
  let over = false;
  const end = (): void => {
    if (!over) release();
    over = true;
  };
  life.then(() => {
    if (!begun) end();
  });
  return {
    [Symbol.asyncIterator]: () => {
      begun = true;
      const iterator = iterable[Symbol.asyncIterator]();
      return {
        next: async () => {
          try {
            const step = await iterator.next();
            if (step.done === true) end();
            return step;
          } catch (error) {
            end();
            throw error;
          }
        },
        // A generator ends behind the step that it is in the middle of.
        return: async () => {
          try {
            await iterator.return?.();
            return { done: true, value: undefined };
          } finally {
            end();
          }
        },
      };
    },
  };
}
