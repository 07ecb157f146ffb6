import { Observable } from 'rxjs';
import type { Subscription } from 'rxjs';
import type { Link } from '../broker/broker.ts';
import { FdLink } from '../broker/node-io.ts';
import type { PortLink } from '../broker/port-link.ts';
import type { Message } from '../wire/frame.ts';
import { READ_FD, writeFully, writeOrNothing } from './fds.ts';
import { SharedState } from './shared-state.ts';

/** Bytes up to which a batch is written by the main thread itself; more would keep user code waiting for the parent. */
const DIRECT_BYTES: number = 64 * 1024;

/**
 * The main thread's link to the parent.
 *
 * It reads the descriptor itself until the broker thread takes that over, for good. It writes small batches to the
 * descriptor itself at any time, which saves a thread hop: under a lock, whole frames only, and never past a batch that
 * it has posted to the broker thread (docs/decisions.md, D-011). Everything else goes through the broker thread.
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
  #port: PortLink | undefined;
  #broken = false;

  constructor(state: SharedState, parentIds: readonly number[], readBufferSize: number) {
    this.#state = state;
    this.#upwards = new Set(parentIds);
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
      this.#read(this.#fds);
      return () => this.#reading?.unsubscribe();
    });
  }

  /** Stops reading the descriptor. Nothing more is read from it in this thread. */
  stopReading(): void {
    this.#reading?.unsubscribe();
  }

  /** From now on what arrives comes from the broker thread. */
  handOver(port: PortLink): void {
    this.#port = port;
    this.volatile = false;
    this.#read(port);
  }

  note(message: Message): void {
    if (!this.#upwards.has(message.dstId)) this.#sideways = true;
  }

  write(parts: readonly Uint8Array[]): void {
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
  }

  #read(source: Link): void {
    const complete = (): void => {
      this.#complete();
    };
    this.#reading = source.chunks.subscribe({
      next: (chunk) => {
        this.#deliver(chunk);
      },
      error: complete,
      complete,
    });
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
