import { Writable } from 'node:stream';
import { LineSplitter } from './lines.ts';

/** Which stream a line was written to. */
export type StdioName = 'stdout' | 'stderr';

/**
 * Replaces `process.stdout` and `process.stderr`, so that what JavaScript prints keeps its stream and its order with the
 * log. What subprocesses write to the real descriptors reaches the parent by the transport instead.
 *
 * @returns a function that hands out what does not end in a newline yet
 */
export function captureStdio(emit: (stream: StdioName, line: string) => void): () => void {
  const flushes = (['stdout', 'stderr'] as const).map((name) => {
    const lines = new LineSplitter((line) => {
      emit(name, line);
    });
    const stream = new Writable({
      decodeStrings: false,
      write: (chunk: Uint8Array | string, _encoding, done) => {
        lines.push(chunk);
        done();
      },
    });
    // Subprocesses that are given the stream object want a descriptor.
    Object.defineProperty(stream, 'fd', { value: name === 'stdout' ? 1 : 2 });
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
    return () => {
      lines.end();
    };
  });
  return () => {
    for (const flush of flushes) flush();
  };
}
