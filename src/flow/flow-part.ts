import { receiveStreams } from '../core/call/consumer.ts';
import type { Internals } from '../core/importer/importer.ts';
import { stream } from './stream.ts';

/** What `tendril` has for streams in a child, which gets it when it is first used, or ahead of the first stream. */
export function start({ scope: { router, reviver } }: Internals): Readonly<Record<string, unknown>> {
  const scope = { router, reviver };
  receiveStreams(scope);
  return { stream, receive: reviver.stream };
}
