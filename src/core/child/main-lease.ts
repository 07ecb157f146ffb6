import type { Broker } from '../broker/broker.ts';
import type { Stream } from '../routing/stream.ts';
import { encodeFrame, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_FUNCTION, LOAD_PART, PING, SHUTDOWN } from '../wire/handles.ts';
import type { MainLink } from './main-link.ts';
import { Reader } from './shared-state.ts';
import type { SharedState } from './shared-state.ts';
import type { LeaseControl, MainControl } from './thread-control.ts';

/** How long after a batch that came by way of the broker thread the main thread asks to read by itself again. */
const RETURN_AFTER_MS = 20;

/** Bytes within that time from which the broker thread had better go on: two threads move bulk faster than one. */
const BULK_BYTES: number = 256 * 1024;

const NOTHING = new Uint8Array(0);

/** What the broker thread must see although we may hang. A question for a sign of life only if it is not the first. */
const forBroker = ({ handle }: Message, index: number): boolean => handle === SHUTDOWN || handle === LOAD_PART || (handle === PING && index > 0);

/** What the main thread's reading depends on. */
export interface MainLeaseScope {
  readonly state: SharedState;
  readonly link: MainLink;
  readonly stream: Stream;
  readonly broker: Broker;
  /** Runs messages. */
  readonly deliver: (batch: readonly Message[]) => void;
  /** Whether calls are under way. */
  readonly occupied: () => boolean;
}

/**
 * The main thread's part in reading from the parent.
 *
 * It reads by itself, which saves a thread hop, as long as user code can only run because of what it reads: no call is
 * under way, and the loop has nothing to do but what is ours. Before it runs anything it stops reading; when that takes
 * long, the broker thread reads instead. When user code has timers, sockets or promises of its own, the broker thread
 * reads until they are gone (docs/decisions.md, D-024).
 */
export class MainLease {
  readonly #scope: MainLeaseScope;
  #post: ((control: MainControl) => void) | undefined;
  /** What keeps the loop alive when no user code does. */
  #usual = '';
  /** We are about to ask whether we may read. */
  #asking = false;
  /** A timer of ours runs. */
  #timing = false;
  /** We have asked, and the broker thread's offer has not come: a second question would be answered at a wrong time. */
  #asked = false;
  /** The main thread is blocked until the broker thread brings something. */
  #waiting = false;
  /** Bytes that came by way of the broker thread since it was started. */
  #posted = 0;

  constructor(scope: MainLeaseScope) {
    this.#scope = scope;
  }

  /** The broker thread is there: user code may run from now on. */
  start(post: (control: MainControl) => void): void {
    this.#post = post;
    this.#usual = resources();
  }

  /** Runs a batch that this thread has read from the descriptor. */
  receiveOwn(batch: readonly Message[]): void {
    const { deliver, state, link, broker, stream } = this.#scope;
    const partial = stream.partialBytes > 0;
    state.countDispatch();
    state.setPartial(partial);
    if (this.#post === undefined || batch.length === 0) {
      deliver(batch);
      return;
    }
    if (partial || batch.some(forBroker)) {
      this.#handOver(batch, this.#post);
      return;
    }
    link.stopReading();
    if (!state.moveReader(Reader.main, Reader.busy)) link.stolen();
    if (state.asleep) this.#post('wake');
    deliver(batch);
    // In the check phase: by then all promise jobs of what has just run are done.
    broker.after(0, () => {
      this.#rearm();
    });
  }

  /** Runs a batch that came by way of the broker thread. */
  receivePosted(batch: readonly Message[]): void {
    this.#scope.deliver(batch);
    for (const message of batch) this.#posted += payloadLength(message);
    if (this.#asking || batch.length === 0) return;
    this.#asking = true;
    this.#timing = true;
    const { broker, state } = this.#scope;
    broker.after(RETURN_AFTER_MS, () => {
      this.#timing = false;
      // Once more in the check phase, so that this timer is not taken for one of the user's.
      broker.after(0, () => {
        this.#asking = false;
        const bulk = this.#posted > BULK_BYTES;
        this.#posted = 0;
        if (bulk || this.#asked || state.reader !== Reader.broker || !this.#quiet()) return;
        this.#asked = true;
        this.#post?.('return');
      });
    });
  }

  onControl(control: LeaseControl): void {
    const { state, link } = this.#scope;
    if (control === 'ping') {
      state.pong();
      // The broker thread has lost its patience with us.
      if (state.reader !== Reader.main) link.stopReading();
      return;
    }
    this.#asked = false;
    if (!this.#waiting && this.#quiet() && state.moveReader(Reader.given, Reader.main)) {
      link.feed(control.give);
      link.resumeReading();
    } else if (state.moveReader(Reader.given, Reader.broker)) this.#post?.('keep');
  }

  /** Runs `work`, which blocks this thread until the broker thread brings something: so that one reads meanwhile. */
  whileWaiting(work: () => void): void {
    this.#waiting = true;
    try {
      this.#giveUp();
      work();
    } finally {
      this.#waiting = false;
    }
  }

  #giveUp(): void {
    const { state, link, stream } = this.#scope;
    if (state.moveReader(Reader.busy, Reader.broker)) this.#post?.({ read: NOTHING });
    else if (state.moveReader(Reader.given, Reader.broker)) this.#post?.('keep');
    else if (state.reader === Reader.main) {
      link.stopReading();
      const read = stream.takeRemainder();
      if (!state.moveReader(Reader.main, Reader.broker)) link.stolen();
      this.#post?.({ read });
    }
  }

  /**
   * Lets the broker thread read for now. What it must see although we may hang goes with it: everything behind the first
   * call of a batch that has a SHUTDOWN or a part of the library, and the beginning of a message that is not complete.
   */
  #handOver(batch: readonly Message[], post: (control: MainControl) => void): void {
    const { deliver, state, link, stream } = this.#scope;
    const end = batch.findIndex(forBroker);
    const call = batch.findIndex(({ handle }) => handle === CALL_FUNCTION);
    const keep = end < 0 ? batch.length : call >= 0 && call < end ? call + 1 : end;
    link.stopReading();
    const read = Buffer.concat([...batch.slice(keep).map(encodeFrame), stream.takeRemainder()]);
    if (!state.moveReader(Reader.main, Reader.broker)) link.stolen();
    post({ read });
    deliver(batch.slice(0, keep));
  }

  #rearm(): void {
    const { state, link, stream } = this.#scope;
    if (stream.ended) return;
    if (this.#quiet()) {
      if (state.moveReader(Reader.busy, Reader.main)) link.resumeReading();
    } else if (state.moveReader(Reader.busy, Reader.broker)) this.#post?.({ read: NOTHING });
  }

  /** Whether nothing but a message can make user code run. */
  #quiet(): boolean {
    return !this.#scope.occupied() && resources() === (this.#timing ? `${this.#usual},Timeout` : this.#usual);
  }
}

/** The handles, requests and timers that keep the loop alive, as one text to compare. */
function resources(): string {
  return process.getActiveResourcesInfo().join();
}
