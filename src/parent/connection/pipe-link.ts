import type { Readable, Writable } from 'node:stream';
import { Observable } from 'rxjs';
import { DEFAULT_READ_BUFFER_SIZE } from '../../core/broker/broker.ts';
import type { Link } from '../../core/broker/broker.ts';
import { SocketReader, StreamLink, drained, writeParts } from '../../core/broker/node-io.ts';
import { takeHandle } from '../../remote/pipe-handle.ts';

/** One for all links of this thread: what is read is dealt with before anything else is read. */
let readBuffer: Buffer | undefined;

/**
 * The link over the pipes of a process that has just been spawned. Takes the handle of `readable` away from it: Node's own
 * stream allocates 64 KiB for each read, and that garbage makes V8's helper threads take the processors (docs/decisions.md,
 * D-104). Where there is no such handle, the streams are used as they are.
 */
export function pipeLink(readable: Readable, writable: Writable): Link {
  const handle = readable.readableLength === 0 ? takeHandle(readable) : undefined;
  return handle === undefined ? new StreamLink(readable, writable) : new PipeLink(handle, writable);
}

class PipeLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly paced = true;
  readonly volatile = true;
  readonly drained: Observable<void>;
  readonly #reader: SocketReader;
  readonly #writable: Writable;

  constructor(handle: object, writable: Writable) {
    readBuffer ??= Buffer.allocUnsafeSlow(DEFAULT_READ_BUFFER_SIZE);
    const reader = (this.#reader = new SocketReader({ handle }, readBuffer));
    this.#writable = writable;
    this.drained = drained(writable);
    // A broken write shows at the reading side too; here it only must not be an uncaught 'error' event.
    writable.on('error', () => undefined);
    // Where nobody reads, nobody sees that the process has ended; Node closes its own streams then.
    writable.on('close', () => {
      if (!reader.taken) reader.socket.destroy();
    });
    this.chunks = new Observable((subscriber) => {
      const onEnd = (): void => {
        subscriber.complete();
      };
      // A peer that has closed the half on which it reads is gone for us, also when it still holds the other.
      writable.on('close', onEnd);
      subscriber.add(() => writable.off('close', onEnd));
      return reader.chunks.subscribe(subscriber);
    });
  }

  get pendingBytes(): number {
    return this.#writable.writableLength;
  }

  holdReading(): void {
    this.#reader.stop();
  }

  releaseReading(): void {
    this.#reader.resume();
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    writeParts(this.#writable, parts, written);
  }

  end(): void {
    if (!this.#writable.writableEnded && !this.#writable.destroyed) this.#writable.end();
  }

  destroy(): void {
    this.#reader.socket.destroy();
    this.#writable.destroy();
  }
}
