import { noteGarbage } from '../broker/garbage.ts';
import { CONTINUES, MORE, TOTAL_LENGTH } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';

/** Bytes of memory for a message that was only announced: 1 MiB of payload and what is around it. */
const FIRST_ALLOCATION: number = 1024 * 1024 + 64 * 1024;
const NOTHING = Buffer.alloc(0);

/** Memory for unfinished messages of one direct peer, in messages of the largest size. */
const MAX_UNFINISHED = 4;

/** A direct peer. */
export interface FragmentSource {
  /** Bytes of memory for its unfinished messages. */
  unfinishedBytes: number;
}

interface Unfinished {
  from: FragmentSource | undefined;
  /** The fragments so far; grows with the bytes that really arrive. Nothing is under way without it. */
  buffer: Buffer | undefined;
  /** As the first fragment says. */
  total: number;
  have: number;
}

/** One number for a pair: handles have 32 bits, context IDs 16. */
export function conversationKey(contextId: number, handle: number): number {
  return contextId * 2 ** 32 + handle;
}

/** Makes messages of their fragments, where they are delivered. */
export class Joiner {
  readonly #maxMessageSize: number;
  /**
   * By source and handle, as the messages of one source for one handle come one after another. Kept until either is gone: V8
   * keeps what was deleted from a Map until its next full collection.
   */
  readonly #unfinished = new Map<number, Unfinished>();

  constructor(maxMessageSize: number) {
    this.#maxMessageSize = maxMessageSize;
  }

  /**
   * Takes a fragment that came in from a direct peer. Gives the message that it completes; undefined while more must come,
   * and for what continues nothing; null when it breaks a rule: then the message is forgotten, with what follows of it.
   */
  join({ srcId, dstId, handle, replyTo, data, part = 0 }: Message, from?: FragmentSource): Message | undefined | null {
    const key = conversationKey(srcId, handle);
    let unfinished = this.#unfinished.get(key);
    if (unfinished === undefined) this.#unfinished.set(key, (unfinished = { from, buffer: undefined, total: 0, have: 0 }));
    let bytes = data;
    if ((part & CONTINUES) === 0) {
      // What came before it was given up by whoever sent it.
      drop(unfinished);
      bytes = data.subarray(TOTAL_LENGTH);
      Object.assign(unfinished, { from, buffer: NOTHING, total: data.length < TOTAL_LENGTH ? Infinity : Buffer.from(data.buffer, data.byteOffset).readUInt32BE(0), have: 0 });
    }
    const { buffer, total, have } = unfinished;
    if (buffer === undefined) return undefined;
    const end = have + bytes.length;
    const ends = (part & MORE) === 0;
    let whole = buffer;
    if (end > buffer.length && end <= total && total <= this.#maxMessageSize) {
      whole = unfinished.buffer = Buffer.allocUnsafeSlow(Math.min(total, Math.max(FIRST_ALLOCATION, 2 * end)));
      whole.set(buffer.subarray(0, have));
      if (from) from.unfinishedBytes += whole.length - buffer.length;
    }
    if (end > whole.length || (ends && end < total) || (from && from.unfinishedBytes > MAX_UNFINISHED * this.#maxMessageSize)) {
      drop(unfinished);
      return null;
    }
    whole.set(bytes, have);
    unfinished.have = end;
    if (!ends) return undefined;
    drop(unfinished);
    noteGarbage(whole.length);
    return { srcId, dstId, handle, replyTo, data: whole };
  }

  /** Forgets what is unfinished from a source, for a handle, or both. */
  forget(srcId: number | undefined, handle?: number): void {
    for (const [key, unfinished] of this.#unfinished) {
      if (![undefined, Math.floor(key / 2 ** 32)].includes(srcId) || ![undefined, key % 2 ** 32].includes(handle)) continue;
      drop(unfinished);
      this.#unfinished.delete(key);
    }
  }
}

function drop(unfinished: Unfinished): void {
  if (unfinished.from && unfinished.buffer) unfinished.from.unfinishedBytes -= unfinished.buffer.length;
  unfinished.buffer = undefined;
}
