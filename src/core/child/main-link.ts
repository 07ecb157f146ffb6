import { writeSync } from 'node:fs';
import { Observable } from 'rxjs';
import type { Subscription } from 'rxjs';
import type { Link } from '../broker/broker.ts';
import { FdLink } from '../broker/node-io.ts';
import type { PortLink } from '../broker/port-link.ts';
import type { Message } from '../wire/frame.ts';
import { READ_FD, WRITE_FD, writeFully, writeOrNothing } from './fds.ts';
import { Reader, SharedState } from './shared-state.ts';

/** Bytes up to which a batch is written by the main thread itself; more would keep user code waiting for the parent. */
const DIRECT_BYTES: number = 64 * 1024;

/**
 * The main thread's link to the parent.
 *
 * What it reads comes from the descriptor or from the broker thread: {@link MainLease} says when. It writes small batches
 * to the descriptor by itself, which saves a thread hop: under a lock, whole frames only, and never past a batch that it
 * has posted to the broker thread (docs/decisions.md, D-011). Everything else goes through the broker thread.
 */
export class MainLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly drained: Observable<void>;
  readonly pendingBytes = 0;
  volatile = true;
  readonly #fds: FdLink;
  readonly #state: SharedState;
  readonly #upwards: ReadonlySet<number>;
  /** Some message of the batch under way is not for a parent, so the broker thread must route it. */
  #sideways = false;
  #deliver: (chunk: Uint8Array) => void = () => undefined;
  #complete: () => void = () => undefined;
  #reading: Subscription | undefined;
  #posted: Subscription | undefined;
  #port: PortLink | undefined;
  #broken = false;

  constructor(state: SharedState, parentIds: readonly number[], readBufferSize: number) {
    this.#state = state;
    this.#upwards = new Set(parentIds);
    this.#fds = new FdLink(READ_FD, WRITE_FD, readBufferSize);
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
      const complete = (): void => {
        this.#complete();
      };
      this.#reading = this.#fds.chunks.subscribe({
        next: (chunk) => {
          if (this.#port !== undefined && this.#state.reader !== Reader.main) this.stolen();
          this.volatile = true;
          this.#deliver(chunk);
        },
        error: complete,
        complete,
      });
      return () => {
        this.destroy();
      };
    });
  }

  /** True while a chunk is delivered that this thread has read from the descriptor. */
  get own(): boolean {
    return this.volatile;
  }

  /** From now on there is a broker thread, and what it has read arrives too. */
  join(port: PortLink): void {
    this.#port = port;
    this.#posted = port.chunks.subscribe({
      next: (chunk) => {
        this.feed(chunk);
      },
      complete: () => {
        this.#complete();
      },
    });
  }

  /** Takes bytes that this thread has not read. They may be kept. */
  feed(bytes: Uint8Array): void {
    this.volatile = false;
    this.#deliver(bytes);
  }

  /** Nothing is read from the descriptor until {@link MainLink.resumeReading}. */
  stopReading(): void {
    this.#fds.stopReading();
  }

  resumeReading(): void {
    this.#fds.resumeReading();
  }

  /**
   * Both threads have read: the order of what was read is lost. Can only happen when user code kept this thread from
   * its loop for seconds, in a way that {@link MainLease} does not see coming. Ends the process.
   */
  stolen(): never {
    writeSync(2, 'tendril: the main thread was away for too long and came back while the broker thread read in its place\n');
    process.exit(70);
  }

  note(message: Message): void {
    if (!this.#upwards.has(message.dstId)) this.#sideways = true;
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    this.#write(parts);
    // They are in the descriptor, or were copied.
    written?.();
  }

  #write(parts: readonly Uint8Array[]): void {
    const sideways = this.#sideways;
    this.#sideways = false;
    if (this.#broken) return;
    if (this.#port === undefined) {
      this.#try(() => {
        for (const part of parts) writeFully(part);
        return true;
      });
      return;
    }
    const [only] = parts;
    const direct = !sideways && parts.length === 1 && only !== undefined && only.length <= DIRECT_BYTES;
    if (direct && this.#try(() => this.#state.nothingPosted && writeOrNothing(only))) return;
    this.#state.post();
    this.#port.write(parts);
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    this.#reading?.unsubscribe();
    this.#posted?.unsubscribe();
  }

  /** Runs `write` under the lock; false when the other thread has it, or when it wrote nothing. */
  #try(write: () => boolean): boolean {
    if (!this.#state.lockWriter(SharedState.main)) return false;
    try {
      return write();
    } catch {
      // The parent is gone; its end of file is on the way to the reader.
      this.#broken = true;
      return true;
    } finally {
      this.#state.unlockWriter();
    }
  }
}
