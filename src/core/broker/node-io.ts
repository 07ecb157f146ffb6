import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { Observable } from 'rxjs';
import { DEFAULT_READ_BUFFER_SIZE } from './broker.ts';
import type { Link } from './broker.ts';
import { noteGarbage } from './garbage.ts';

const NOTHING = Buffer.alloc(0);

/** The errors by which an operating system says that the peer has gone; they end a link as end of file does. */
const DISCONNECTED = new Set(['EPIPE', 'ECONNRESET', 'EIO', 'ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END']);

function isDisconnect(error: unknown): boolean {
  return DISCONNECTED.has((error as { code?: string } | null)?.code ?? '');
}

/** Writes parts as one batch: small ones are already joined by the caller, `cork` makes one `writev` of the rest. */
export function writeParts(target: Writable, parts: readonly Uint8Array[], written?: () => void): void {
  if (target.destroyed || target.writableEnded) return;
  const last = parts.length - 1;
  if (last > 0) target.cork();
  parts.forEach((part, index) => target.write(part, index === last ? written : undefined));
  if (last > 0) target.uncork();
}

/** The callback of an empty write comes after those of all writes before it, also when the target breaks. */
export function drained(target: Writable): Observable<void> {
  return new Observable((subscriber) => {
    const done = (): void => {
      subscriber.next();
      subscriber.complete();
    };
    if (target.writableLength === 0 || target.destroyed || target.writableEnded) done();
    else target.write(NOTHING, done);
  });
}

/** A link over Node streams: the pipes of a spawned process, an ssh channel. */
export class StreamLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly paced = true;
  readonly volatile = false;
  readonly drained: Observable<void>;
  readonly #readable: Readable;
  readonly #writable: Writable;
  /** Marks the present reader: the one before it may unsubscribe after it has come. */
  #reader: object | undefined;

  constructor(readable: Readable, writable: Writable) {
    this.#readable = readable;
    this.#writable = writable;
    this.drained = drained(writable);
    // A broken write shows at the reading side too; here it only must not be an uncaught 'error' event.
    writable.on('error', ignore);
    readable.on('error', ignore);
    this.chunks = new Observable((subscriber) => {
      const onData = (chunk: Uint8Array): void => {
        noteGarbage(chunk.length);
        subscriber.next(chunk);
      };
      const onEnd = (): void => {
        subscriber.complete();
      };
      const onError = (error: Error): void => {
        if (isDisconnect(error)) subscriber.complete();
        else subscriber.error(error);
      };
      readable.on('data', onData).on('end', onEnd).on('close', onEnd).on('error', onError);
      // A peer that has closed the half on which it reads is gone for us, also when it still holds the other.
      writable.on('close', onEnd);
      const reader = (this.#reader = {});
      if (readable.destroyed || readable.readableEnded) subscriber.complete();
      else readable.resume();
      return () => {
        readable.off('data', onData).off('end', onEnd).off('close', onEnd).off('error', onError);
        writable.off('close', onEnd);
        if (this.#reader === reader) readable.pause();
      };
    });
  }

  get pendingBytes(): number {
    return this.#writable.writableLength;
  }

  holdReading(): void {
    this.#readable.pause();
  }

  releaseReading(): void {
    if (this.#reader !== undefined) this.#readable.resume();
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    writeParts(this.#writable, parts, written);
  }

  end(): void {
    if (!this.#writable.writableEnded && !this.#writable.destroyed) this.#writable.end();
  }

  destroy(): void {
    this.#readable.destroy();
    this.#writable.destroy();
  }
}

function ignore(): void {
  // see the callers
}

/** What a {@link SocketReader} reads: a descriptor, or a handle of Node's that nobody else reads. */
export type ReaderSource = { readonly fd: number } | { readonly handle: object };

/** Reads into one buffer, again and again: half the CPU of 'data' events (docs/decisions.md, D-007), and no garbage (D-104). */
export class SocketReader {
  /** What arrives; a chunk is only valid during its delivery. */
  readonly chunks: Observable<Uint8Array>;
  readonly socket: Socket;
  /** Chunks are not wanted for now: {@link SocketReader.stop}. */
  #stopped: boolean;
  #delivering = false;
  /** The present reader: the one before it may unsubscribe after it has come. */
  #deliver: (chunk: Uint8Array) => void = ignore;

  /**
   * @param buffer - to read into; several may have the same
   * @param stopped - begin without reading, until {@link SocketReader.resume}
   */
  constructor(source: ReaderSource, buffer: Uint8Array, stopped = false) {
    this.#stopped = stopped;
    // `onread` is an option of the constructor that the type declarations only list for connect().
    const options = {
      ...source,
      readable: true,
      writable: false,
      allowHalfOpen: true,
      // Else the constructor begins to read, and what came before there is a subscriber would be lost.
      pauseOnCreate: true,
      onread: {
        buffer,
        callback: (length: number, filled: Uint8Array) => {
          this.#delivering = true;
          this.#deliver(filled.subarray(0, length));
          this.#delivering = false;
          // False stops the handle at once, at less cost than pause().
          return !this.#stopped;
        },
      },
    };
    const socket = (this.socket = new Socket(options));
    socket.on('error', ignore);
    this.chunks = new Observable((subscriber) => {
      const deliver = (this.#deliver = (chunk) => {
        subscriber.next(chunk);
      });
      const onEnd = (): void => {
        subscriber.complete();
      };
      const onError = (error: Error): void => {
        if (isDisconnect(error)) subscriber.complete();
        else subscriber.error(error);
      };
      socket.on('end', onEnd).on('close', onEnd).on('error', onError);
      if (socket.destroyed || socket.readableEnded) subscriber.complete();
      else if (!this.#stopped) socket.resume();
      return () => {
        socket.off('end', onEnd).off('close', onEnd).off('error', onError);
        if (this.#deliver !== deliver) return;
        this.#deliver = ignore;
        socket.pause();
      };
    });
  }

  /** Whether somebody takes what arrives. */
  get taken(): boolean {
    return this.#deliver !== ignore;
  }

  /** Nothing is read any more until {@link SocketReader.resume}; not even what is on the way. */
  stop(): void {
    this.#stopped = true;
    if (!this.#delivering) this.socket.pause();
  }

  resume(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    if (this.taken) this.socket.resume();
  }
}

/** A link over two inherited file descriptors (a context's 3 and 4). */
export class FdLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly volatile = true;
  readonly drained: Observable<void>;
  readonly #reader: SocketReader;
  readonly #writer: Socket;

  /** @param stopped - begin without reading, until {@link FdLink.resumeReading} */
  constructor(readFd: number, writeFd: number, readBufferSize: number = DEFAULT_READ_BUFFER_SIZE, stopped = false) {
    this.#reader = new SocketReader({ fd: readFd }, Buffer.allocUnsafeSlow(readBufferSize), stopped);
    this.chunks = this.#reader.chunks;
    this.#writer = new Socket({ fd: writeFd, readable: false, writable: true, allowHalfOpen: true });
    this.#writer.on('error', ignore);
    this.drained = drained(this.#writer);
  }

  get pendingBytes(): number {
    return this.#writer.writableLength;
  }

  /** See {@link SocketReader}. */
  stopReading(): void {
    this.#reader.stop();
  }

  resumeReading(): void {
    this.#reader.resume();
  }

  /** True when nothing can be written any more. */
  get broken(): boolean {
    return this.#writer.destroyed || this.#writer.writableEnded;
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    writeParts(this.#writer, parts, written);
  }

  end(): void {
    this.#writer.end();
  }

  destroy(): void {
    this.#reader.socket.destroy();
    this.#writer.destroy();
  }
}
