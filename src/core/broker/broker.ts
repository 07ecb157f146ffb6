import { Subscription } from 'rxjs';
import type { Observable, SchedulerAction, SchedulerLike } from 'rxjs';
import type { Message } from '../wire/frame.ts';

/** Size of the read buffer of a link in bytes (128 KiB, as Mitogen's). */
export const DEFAULT_READ_BUFFER_SIZE: number = 128 * 1024;

/**
 * A byte connection to one peer.
 *
 * Whoever subscribes to {@link Link.chunks} owns the reading side; unsubscribing stops reading.
 */
export interface Link {
  /** What arrives. Completes at the peer's end of file; errors when the connection breaks. One subscriber. */
  readonly chunks: Observable<Uint8Array>;
  /** True when a chunk is only valid during its delivery, because the read buffer is used again. */
  readonly volatile: boolean;
  /** Bytes written but not yet taken by the operating system. */
  readonly pendingBytes: number;
  /** Emits once when everything written so far has left this process, or never can; then completes. */
  readonly drained: Observable<void>;
  /** Takes no bytes from the peer until {@link Link.releaseReading}, so that it cannot make us write without reading. */
  holdReading?(): void;
  releaseReading?(): void;
  /** Shown each message that is about to be written, if the link wants to see them. */
  note?(message: Message): void;
  /** Calls `written` when it can take more: then bulk is given to it little by little, so that other things can overtake it. */
  readonly paced?: boolean;
  /**
   * Writes in order; never blocks and never throws. The parts must not change until they are written: `written` is called
   * then by a link that is {@link Link.paced}, or when they never can be.
   */
  write(parts: readonly Uint8Array[], written?: () => void): void;
  /** Writes what is pending, then signals end of file. Reading goes on. */
  end(): void;
  /** Closes both directions at once; pending bytes are lost. */
  destroy(): void;
}

/** Something that went wrong where no caller waits, such as a subscriber that threw. */
export interface Fault {
  /** What threw. */
  readonly error: unknown;
  /** Where, for a log: `subscriber of handle 42`. */
  readonly where: string;
}

/**
 * Owner of time and IO of one context, and an RxJS scheduler: `interval(5, broker)`, `timeout({ each, scheduler: broker })`.
 *
 * Time is monotonic, in milliseconds. The data path does not run through the scheduler (docs/decisions.md, D-006).
 */
export interface Broker extends SchedulerLike {
  /** Processors that this process may use: bulk leaves the more of them to other messages the fewer there are. */
  readonly processors: number;
  /** Faults in the order in which they happened. */
  readonly faults: Observable<Fault>;
  /** Runs `work` when the current turn is over and before new IO is looked at. For batching. */
  defer(work: () => void): void;
  /** Makes a fault known. Never throws; needs no `this`. */
  readonly report: (error: unknown, where: string) => void;
  /** Runs `work` after `delayMs`; unsubscribing cancels it. A throw is reported. */
  after(delayMs: number, work: () => void): Subscription;
}

/** A timer set by {@link SchedulerBase.setTimer}; clears itself when called. */
export type ClearTimer = () => void;

/** The scheduler half of a broker over one primitive, `setTimer`. */
export abstract class SchedulerBase implements SchedulerLike {
  abstract now(): number;
  abstract readonly report: (error: unknown, where: string) => void;
  /** Calls `fire` once after `delayMs`. */
  protected abstract setTimer(delayMs: number, fire: () => void): ClearTimer;

  schedule<T>(work: (this: SchedulerAction<T>, state?: T) => void, delayMs = 0, state?: T): Subscription {
    return new BrokerAction(this, (ms, fire) => this.setTimer(ms, fire), work).schedule(state, delayMs);
  }

  after(delayMs: number, work: () => void): Subscription {
    return this.schedule(work, delayMs);
  }
}

type SetTimer = (delayMs: number, fire: () => void) => ClearTimer;

/** One scheduled piece of work; `this.schedule()` inside the work repeats it, as RxJS's operators expect. */
class BrokerAction<T> extends Subscription implements SchedulerAction<T> {
  readonly #owner: { report(error: unknown, where: string): void };
  readonly #setTimer: SetTimer;
  readonly #work: (this: SchedulerAction<T>, state?: T) => void;
  #clear: ClearTimer | undefined;
  #again = false;

  constructor(owner: { report(error: unknown, where: string): void }, setTimer: SetTimer, work: (this: SchedulerAction<T>, state?: T) => void) {
    super(() => {
      this.#clear?.();
      this.#clear = undefined;
    });
    this.#owner = owner;
    this.#setTimer = setTimer;
    this.#work = work;
  }

  schedule(state?: T, delayMs = 0): Subscription {
    if (this.closed) return this;
    this.#clear?.();
    this.#again = true;
    this.#clear = this.#setTimer(Math.max(0, delayMs), () => {
      this.#clear = undefined;
      this.#again = false;
      try {
        this.#work.call(this, state);
      } catch (error) {
        this.unsubscribe();
        this.#owner.report(error, 'scheduled work');
      }
      if (!this.#isScheduled()) this.unsubscribe();
    });
    return this;
  }

  /** Whether the work that has just run has scheduled itself again. */
  #isScheduled(): boolean {
    return this.#again;
  }
}
