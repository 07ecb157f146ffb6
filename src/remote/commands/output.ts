import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { CHUNK_BYTES, cut } from '../chunks.ts';
import { Feed } from '../feed.ts';
import { LentMemory } from '../lent.ts';
import { takeHandle } from '../pipe-handle.ts';

/** Bytes from which what was read is sent as it is; less is copied. */
const LENT_BYTES: number = 16 * 1024;
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
  const take = (bytes: Uint8Array): void => {
    feed.push(bytes);
    if (held() >= READ_AHEAD) readable.pause();
  };
  readable = pieces(readable, take);
  const end = (failure?: { readonly error: unknown }): void => {
    feed.end(failure);
    onEnd();
  };
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

/** Reads `pipe` in pieces that are not cut on a link. What is to be told when to pause is given back. */
function pieces(pipe: Readable, take: (piece: Uint8Array) => void): Readable {
  const cutAndTake = (bytes: Uint8Array): void => {
    for (const piece of cut(bytes)) take(piece);
  };
  const handle = takeHandle(pipe, cutAndTake);
  if (handle === undefined) return pipe.on('data', cutAndTake);
  const memory = new LentMemory(CHUNK_BYTES);
  let filled: Buffer | undefined;
  // `onread` is an option of the constructor that the type declarations only list for connect().
  const options = {
    handle,
    readable: true,
    writable: false,
    pauseOnCreate: true,
    onread: {
      buffer: () => (filled ??= memory.take()),
      callback: (length: number, buffer: Buffer) => {
        if (length >= LENT_BYTES) {
          filled = undefined;
          take(memory.part(buffer, length));
        } else take(Buffer.from(buffer.subarray(0, length)));
        return true;
      },
    },
  };
  return new Socket(options).resume();
}
