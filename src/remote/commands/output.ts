import type { Readable } from 'node:stream';

/** Bytes of a piece of output: below what would be cut on a link. */
const MAX_PIECE: number = 60 * 1024;
/** Bytes that are read ahead of the consumer's credit. */
const READ_AHEAD: number = 256 * 1024;

const DONE = { done: true, value: undefined } as const;

interface Asking {
  readonly resolve: (result: IteratorResult<Uint8Array, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The output of a process, piece by piece, as it is asked for; leaving it closes the pipe. By hand: an async generator
 * would not hear of `return()` while it waits for output.
 */
export class Output implements AsyncIterableIterator<Uint8Array, undefined, undefined> {
  readonly #readable: Readable;
  readonly #onEnd: () => void;
  readonly #pieces: Uint8Array[] = [];
  #bytes = 0;
  readonly #asking: Asking[] = [];
  #ended = false;
  #error: unknown;

  /** @param onEnd - told once, when nothing more can come */
  constructor(readable: Readable, onEnd: () => void) {
    this.#readable = readable;
    this.#onEnd = onEnd;
    readable.on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += MAX_PIECE) this.#take(chunk.length <= MAX_PIECE ? chunk : chunk.subarray(at, at + MAX_PIECE));
      if (this.#bytes >= READ_AHEAD) readable.pause();
    });
    readable.on('error', (error) => {
      this.#error = error;
    });
    readable.on('end', () => {
      this.#end();
    });
    readable.on('close', () => {
      this.#end();
    });
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    return new Promise((resolve, reject) => {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#bytes -= piece.length;
        if (this.#bytes < READ_AHEAD) this.#readable.resume();
        resolve({ done: false, value: piece });
      } else {
        this.#asking.push({ resolve, reject });
        if (this.#ended) this.#answer();
      }
    });
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    this.#pieces.length = 0;
    this.#readable.destroy();
    this.#end();
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(piece: Uint8Array): void {
    const asking = this.#asking.shift();
    if (asking) asking.resolve({ done: false, value: piece });
    else {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    this.#answer();
  }

  #answer(): void {
    for (const { resolve, reject } of this.#asking.splice(0)) {
      if (this.#error === undefined) resolve(DONE);
      else reject(this.#error);
      this.#error = undefined;
    }
  }
}
