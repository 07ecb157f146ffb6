import type { RemoteStream } from '../../core/call/remote-stream.ts';
import type { Destination, Kept } from '../../core/wire/tags.ts';
import { library } from '../library.ts';
import type { FileItem } from './protocol.ts';
import { Tee } from './tee.ts';

/** How a stream is put on the wire (src/core/wire/tags.ts, which is not imported here: it would come a second time). */
const WIRE = Symbol.for('tendril.wire');

type Sendable = Readonly<Record<symbol, (to: Destination) => { readonly content: unknown }>>;

/** Where a context can have its copy of a stream: here, at a handle that takes that context only. */
export type Tap = readonly [contextId: number, handle: number];

/**
 * Takes a stream once, and gives it to several contexts, each of which opens its own copy: so it crosses the link to here
 * once. Emits where they can have it, then completes when all copies are at their end.
 */
export function relayFile(data: RemoteStream<FileItem>, contextIds: readonly number[]): AsyncIterable<readonly Tap[]> {
  const { router } = library();
  const tee = new Tee(data);
  const kept: Kept[] = [];
  let open = contextIds.length;
  let wake: () => void = () => undefined;
  const taps = contextIds.map((contextId): Tap => {
    const branch = ending(tee.branch(), () => {
      open--;
      wake();
    });
    const copy = library().stream(branch) as unknown as Sendable;
    const to: Destination = { router, contextId, keep: (stream) => kept.push(stream) };
    return copy[WIRE]?.(to).content as Tap;
  });
  let told = false;
  const over = { done: true, value: undefined } as const;
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        if (!told) {
          told = true;
          return { done: false, value: taps };
        }
        while (open > 0) await new Promise<void>((resolve) => (wake = resolve));
        return over;
      },
      return: () => {
        for (const stream of kept) stream.drop(true);
        open = 0;
        wake();
        return Promise.resolve(over);
      },
    }),
  };
}

/** Tells once when an iterator is at its end, or left. */
function ending<T>(iterator: AsyncIterableIterator<T, undefined, undefined>, onEnd: () => void): AsyncIterableIterator<T, undefined, undefined> {
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    onEnd();
  };
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
    return: async () => {
      end();
      return (await iterator.return?.()) ?? { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
