import { readSync, writeSync } from 'node:fs';
import { Observable } from 'rxjs';
import type { Subscription } from 'rxjs';
import type { Link } from '../broker/broker.ts';
import { FdLink } from '../broker/node-io.ts';
import { PortLink } from '../broker/port-link.ts';
import type { SharedState } from './shared-state.ts';

/** The descriptors of the protocol (docs/protocol.md, "Bootstrap"). */
export const READ_FD = 3;
export const WRITE_FD = 4;

const nap = new Int32Array(new SharedArrayBuffer(4));

/** Retries a system call on a descriptor that another thread has made non-blocking. */
function retry(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if ((error as { code?: string }).code !== 'EAGAIN') throw error;
      Atomics.wait(nap, 0, 0, 1);
    }
  }
}

/** Writes all of it before it returns. */
export function writeFully(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += retry(() => writeSync(WRITE_FD, bytes, at));
}

/** Reads exactly `length` bytes. */
export function readFully(length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length; ) {
    const count = retry(() => readSync(READ_FD, bytes, at, length - at, null));
    if (count === 0) process.exit(1);
    at += count;
  }
  return bytes;
}

/**
 * The main thread's link to the parent: first over the descriptors themselves, then, for good, over the broker thread.
 *
 * While it writes by itself each write is complete when it returns, so that the broker thread can take the descriptor
 * over at any moment between two writes, also when the main thread then hangs.
 */
export class BootLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly drained: Observable<void>;
  readonly pendingBytes = 0;
  volatile = true;
  readonly #fds: FdLink;
  readonly #state: SharedState;
  #deliver: (chunk: Uint8Array) => void = () => undefined;
  #complete: () => void = () => undefined;
  #reading: Subscription | undefined;
  #port: PortLink | undefined;
  #broken = false;

  constructor(state: SharedState, readBufferSize: number) {
    this.#state = state;
    this.#fds = new FdLink(READ_FD, READ_FD, readBufferSize);
    this.drained = new Observable((subscriber) => {
      subscriber.next();
      subscriber.complete();
    });
    this.chunks = new Observable((subscriber) => {
      this.#deliver = (chunk) => {
        subscriber.next(chunk);
      };
      this.#complete = () => {
        subscriber.complete();
      };
      this.#reading = this.#fds.chunks.subscribe({ next: (chunk) => { this.#deliver(chunk); }, error: () => { this.#complete(); }, complete: () => { this.#complete(); } });
      return () => this.#reading?.unsubscribe();
    });
  }

  /** Stops reading the descriptor. Nothing more is read from it in this thread. */
  stopReading(): void {
    this.#reading?.unsubscribe();
  }

  /** From now on what arrives comes from the broker thread; what is written goes there once it owns the descriptor. */
  handOver(port: PortLink): void {
    this.#port = port;
    this.volatile = false;
    this.#reading = port.chunks.subscribe({ next: (chunk) => { this.#deliver(chunk); }, complete: () => { this.#complete(); } });
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.#broken) return;
    try {
      const written = this.#state.writeAsMain(() => {
        for (const part of parts) writeFully(part);
      });
      if (!written) this.#port?.write(parts);
    } catch {
      // The parent is gone; its end of file is on the way to the reader.
      this.#broken = true;
    }
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    this.#reading?.unsubscribe();
  }
}
