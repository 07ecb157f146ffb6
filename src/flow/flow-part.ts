import { receiveStreams } from '../core/call/consumer.ts';
import type { Internals } from '../core/importer/importer.ts';
import { eachBatch } from './each-batch.ts';
import { eachBuffered } from './each-buffered.ts';
import { eachLatest } from './each-latest.ts';
import { eachOrDrop } from './each-or-drop.ts';
import { onDemand } from './on-demand.ts';
import { stream } from './stream.ts';

/** What `tendril` has for streams in a child, which gets it when it is first used, or ahead of the first stream. */
export function start({ scope: { router, reviver } }: Internals): Readonly<Record<string, unknown>> {
  const scope = { router, reviver };
  receiveStreams(scope);
  return { stream, eachBatch, eachBuffered, eachLatest, eachOrDrop, onDemand, receive: reviver.stream };
}
