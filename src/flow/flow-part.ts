import { stream } from './stream.ts';

/** What `tendril` has for streams in a child, which gets it when it is first used. */
export function start(): Readonly<Record<string, unknown>> {
  return { stream };
}
