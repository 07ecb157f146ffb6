import type { RemoteStream } from '../../core/call/remote-stream.ts';
import type { Destination, Kept } from '../../core/wire/tags.ts';
import { Feed, watched } from '../feed.ts';
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
  const open = new Set(contextIds);
  const events = new Feed<readonly Tap[]>(() => {
    for (const stream of kept) stream.drop(true);
  });
  const taps = contextIds.map((contextId): Tap => {
    const branch = watched(tee.branch(), () => {
      open.delete(contextId);
      if (open.size === 0) events.end();
    });
    const copy = library().stream(branch) as unknown as Sendable;
    const to: Destination = { router, contextId, keep: (stream) => kept.push(stream) };
    return copy[WIRE]?.(to).content as Tap;
  });
  events.push(taps);
  return events;
}
