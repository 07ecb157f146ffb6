import { Observable, Subject, take } from 'rxjs';
import type { Broker, Link } from '../broker/broker.ts';
import { FdLink } from '../broker/node-io.ts';
import { READ_FD, WRITE_FD } from './fds.ts';
import { SharedState } from './shared-state.ts';

/** The broker thread's link to the parent: writes under the lock that it shares with the main thread. */
export class BrokerLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly volatile = true;
  readonly paced = true;
  readonly drained: Observable<void>;
  readonly #fds: FdLink;
  readonly #state: SharedState;
  readonly #broker: Broker;
  readonly #idle = new Subject<void>();
  #queue: { readonly parts: readonly Uint8Array[]; readonly written: (() => void) | undefined }[] = [];
  #queued = 0;
  /** We have the lock, and bytes in the descriptor's queue. */
  #writing = false;
  #retrying = false;
  #sealed = false;

  constructor(state: SharedState, broker: Broker, readBufferSize: number) {
    this.#state = state;
    this.#broker = broker;
    this.#fds = new FdLink(READ_FD, WRITE_FD, readBufferSize, true);
    this.chunks = this.#fds.chunks;
    this.drained = new Observable((subscriber) => {
      if (this.#fds.broken || (this.#queued === 0 && !this.#writing)) {
        subscriber.next();
        subscriber.complete();
        return undefined;
      }
      return this.#idle.pipe(take(1)).subscribe(subscriber);
    });
  }

  get pendingBytes(): number {
    return this.#queued + this.#fds.pendingBytes;
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    // While we have the lock, the order of the descriptor's own queue is all that is needed.
    if (this.#writing) {
      this.#fds.write(parts, written);
      return;
    }
    this.#queue.push({ parts, written });
    for (const { length } of parts) this.#queued += length;
    this.#begin();
  }

  /** See FdLink; a new link does not read. */
  stopReading(): void {
    this.#fds.stopReading();
  }

  resumeReading(): void {
    this.#fds.resumeReading();
  }

  end(): void {
    this.drained.subscribe(() => {
      this.#fds.end();
    });
  }

  /**
   * The right to write is kept for ever before the descriptors are closed: the main thread writes to them by number, and
   * the next file that user code opens gets that number.
   */
  destroy(): void {
    this.#sealed = true;
    this.#fds.stopReading();
    if (this.#writing || this.#state.lockWriter(SharedState.broker)) {
      this.#writing = true;
      this.#fds.destroy();
      this.#queue = [];
      this.#queued = 0;
      this.#idle.next();
    } else {
      this.#broker.after(0, () => {
        this.destroy();
      });
    }
  }

  #begin(): void {
    if (this.#queued === 0 || this.#retrying || this.#sealed) return;
    if (!this.#state.lockWriter(SharedState.broker)) {
      // The main thread is in the middle of a short write. Waiting here would stop routing.
      this.#retrying = true;
      this.#broker.after(0, () => {
        this.#retrying = false;
        this.#begin();
      });
      return;
    }
    this.#writing = true;
    for (const { parts, written } of this.#queue.splice(0)) this.#fds.write(parts, written);
    this.#queued = 0;
    this.#settle();
  }

  /** Gives the lock back once nothing is left in the descriptor's queue. */
  #settle(): void {
    this.#fds.drained.subscribe(() => {
      if (this.#fds.pendingBytes > 0 && !this.#fds.broken) {
        this.#settle();
        return;
      }
      if (!this.#sealed) {
        this.#writing = false;
        this.#state.unlockWriter();
      }
      this.#idle.next();
    });
  }
}
