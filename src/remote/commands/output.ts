import type { Readable } from 'node:stream';
import { cut } from '../chunks.ts';
import { Feed } from '../feed.ts';

/** Bytes that are read ahead of the consumer's credit. */
const READ_AHEAD: number = 256 * 1024;

/**
 * The output of a process, piece by piece, as it is asked for; leaving it closes the pipe.
 *
 * @param onEnd - told when nothing more can come
 */
export function outputOf(readable: Readable, onEnd: () => void): AsyncIterable<Uint8Array> {
  const held = (): number => feed.values.reduce((sum, { length }) => sum + length, 0);
  const feed = new Feed<Uint8Array>(
    () => {
      readable.destroy();
      onEnd();
    },
    () => {
      if (readable.isPaused() && held() < READ_AHEAD) readable.resume();
    },
  );
  const end = (failure?: { readonly error: unknown }): void => {
    feed.end(failure);
    onEnd();
  };
  readable.on('data', (chunk: Buffer) => {
    for (const piece of cut(chunk)) feed.push(piece);
    if (held() >= READ_AHEAD) readable.pause();
  });
  readable.on('error', (error) => {
    end({ error });
  });
  for (const event of ['end', 'close']) {
    readable.on(event, () => {
      end();
    });
  }
  return feed;
}
