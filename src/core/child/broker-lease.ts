import type { Subscription } from 'rxjs';
import type { Broker } from '../broker/broker.ts';
import type { Stream } from '../routing/stream.ts';
import { endProcess } from '../shutdown.ts';
import type { BrokerLink } from './broker-link.ts';
import { Reader } from './shared-state.ts';
import type { ReaderState, SharedState } from './shared-state.ts';
import type { LeaseControl, MainControl } from './thread-control.ts';

/** How long the main thread may be busy before we read in its place: between one and two of these. */
const TICK_MS = 20;
/** Ticks without anything to see after which we look only now and then. */
const TICKS_BEFORE_SLEEP = 50;
/** How often we look then, and how often a main thread that reads by itself must show that it is alive. */
const SLOW_TICK_MS = 2000;
/** Signs of life that may be missing before we read in its place. */
const MISSING_PONGS = 2;

const NOTHING = new Uint8Array(0);

/** The broker thread's part in reading from the parent: it steps in when the main thread does not come back. */
export class BrokerLease {
  readonly #state: SharedState;
  readonly #broker: Broker;
  readonly #link: BrokerLink;
  readonly #stream: Stream;
  readonly #post: (control: LeaseControl) => void;
  /** What we have given to the main thread, until it takes it. */
  #given: Uint8Array = NOTHING;
  /** This context has children: their messages must not wait for the main thread, so it never reads again. */
  parental = false;
  #lastReader: ReaderState = Reader.main;
  #lastDispatches = 0;
  #idleTicks = 0;
  #timer: Subscription | undefined;
  #lastPing = 0;
  #pongs = 0;
  #missing = 0;

  constructor(state: SharedState, broker: Broker, link: BrokerLink, stream: Stream, post: (control: LeaseControl) => void) {
    this.#state = state;
    this.#broker = broker;
    this.#link = link;
    this.#stream = stream;
    this.#post = post;
  }

  start(): void {
    this.#lastPing = this.#broker.now();
    this.#tick();
  }

  /** Handles a control message about reading; false when it is about something else. */
  onControl(control: MainControl): boolean {
    if (control === 'wake') {
      this.#state.setAsleep(false);
      this.#idleTicks = 0;
      this.#next(TICK_MS);
    } else if (control === 'return') this.#give();
    else if (control === 'keep') this.#read(this.#given);
    else if (typeof control === 'object') this.#read(control.read);
    else return false;
    return true;
  }

  #read(first: Uint8Array): void {
    this.#given = NOTHING;
    this.#stream.feed(first);
    this.#link.resumeReading();
  }

  /** Everything that was read goes to the main thread before the offer, so that order is kept. */
  #give(): void {
    if (this.parental || this.#state.reader !== Reader.broker) return;
    this.#link.stopReading();
    this.#given = this.#stream.takeRemainder();
    this.#state.moveReader(Reader.broker, Reader.given);
    this.#post({ give: this.#given });
    this.#idleTicks = 0;
    this.#next(TICK_MS);
  }

  #takeOver(from: ReaderState, first: Uint8Array): void {
    if (this.#state.moveReader(from, Reader.broker)) this.#read(first);
  }

  #tick(): void {
    const { reader, dispatches } = this.#state;
    const stuck = reader === this.#lastReader && dispatches === this.#lastDispatches;
    this.#lastReader = reader;
    this.#lastDispatches = dispatches;
    if (reader === Reader.busy && stuck) this.#takeOver(Reader.busy, NOTHING);
    else if (reader === Reader.given && stuck) this.#takeOver(Reader.given, this.#given);
    else if (reader === Reader.main) {
      this.#given = NOTHING;
      this.#heartbeat();
    }
    this.#idleTicks = stuck ? this.#idleTicks + 1 : 0;
    if (this.#idleTicks < TICKS_BEFORE_SLEEP) this.#next(TICK_MS);
    else this.#sleep();
  }

  #sleep(): void {
    this.#state.setAsleep(true);
    // The main thread may have begun something just before it could see that we sleep.
    if (this.#state.reader === Reader.busy || this.#state.dispatches !== this.#lastDispatches) {
      this.#state.setAsleep(false);
      this.#idleTicks = 0;
      this.#next(TICK_MS);
    } else this.#next(SLOW_TICK_MS);
  }

  /** For what no rule of the main thread's foresees, such as an endless loop in a timer that does not keep it alive. */
  #heartbeat(): void {
    const now = this.#broker.now();
    if (now - this.#lastPing < SLOW_TICK_MS) return;
    this.#lastPing = now;
    const { pongs } = this.#state;
    this.#missing = pongs === this.#pongs ? this.#missing + 1 : 0;
    this.#pongs = pongs;
    if (this.#missing > MISSING_PONGS) {
      this.#missing = 0;
      // The rest of a message whose beginning is lost cannot be read.
      if (this.#state.partial) endProcess(this.#broker);
      else this.#takeOver(Reader.main, NOTHING);
    } else this.#post('ping');
  }

  #next(delayMs: number): void {
    this.#timer?.unsubscribe();
    this.#timer = this.#broker.after(delayMs, () => {
      this.#tick();
    });
  }
}
