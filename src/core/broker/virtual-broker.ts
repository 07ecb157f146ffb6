import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import { UsageError } from '../errors.ts';
import { SchedulerBase } from './broker.ts';
import type { Broker, ClearTimer, Fault } from './broker.ts';

/** Turns that {@link VirtualBroker.run} and {@link VirtualBroker.advance} take before they call it a runaway. */
export const DEFAULT_MAX_TURNS = 1_000_000;

interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/**
 * A broker whose time only moves when it is told to: for tests and simulations of whole trees in one process.
 *
 * Time begins at 0 and is in milliseconds. Work happens in turns, ordered by time and then by the order in which it was
 * asked for; what is deferred runs at the end of its turn. Two runs of the same program do exactly the same.
 */
export class VirtualBroker extends SchedulerBase implements Broker {
  /** Two, whatever this machine has, so that runs are the same everywhere. */
  readonly processors = 2;
  readonly faults: Observable<Fault>;
  readonly #faults = new Subject<Fault>();
  /** Sorted by time; those of one time in the order of their making. */
  readonly #timers: Timer[] = [];
  readonly #deferred: (() => void)[] = [];
  #now = 0;
  #running = false;

  constructor() {
    super();
    this.faults = this.#faults.asObservable();
  }

  now(): number {
    return this.#now;
  }

  /** Timers that have neither fired nor been cancelled, and deferred work. For leak checks. */
  get pending(): number {
    return this.#timers.length + this.#deferred.length;
  }

  /** Runs at the end of the turn; outside of a turn, before the next one. */
  defer(work: () => void): void {
    this.#deferred.push(work);
  }

  readonly report = (error: unknown, where: string): void => {
    this.#faults.next({ error, where });
  };

  /**
   * Lets `ms` milliseconds pass: runs what is due until then, in order, and leaves the clock there.
   *
   * @param maxTurns - throws a UsageError when it takes more turns than these
   */
  advance(ms: number, maxTurns: number = DEFAULT_MAX_TURNS): void {
    const until = this.#now + ms;
    this.#turns(until, maxTurns);
    this.#now = until;
  }

  /**
   * Lets time pass until nothing is left to do; the clock stays at the last thing that happened.
   *
   * @param maxTurns - throws a UsageError when it takes more turns than these, as a repeating timer makes it
   */
  run(maxTurns: number = DEFAULT_MAX_TURNS): void {
    // Timers at infinity are those that never fire.
    this.#turns(Number.MAX_VALUE, maxTurns);
  }

  protected setTimer(delayMs: number, fire: () => void): ClearTimer {
    const timer: Timer = { at: this.#now + delayMs, fire };
    this.#timers.splice(this.#position(timer.at), 0, timer);
    return () => {
      const index = this.#timers.indexOf(timer);
      if (index >= 0) this.#timers.splice(index, 1);
    };
  }

  /** Where a timer of this time goes: behind all of the same time. */
  #position(at: number): number {
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#timers[middle]?.at ?? at) <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #turns(until: number, maxTurns: number): void {
    if (this.#running) throw new UsageError('ERR_TENDRIL_VIRTUAL_TIME', 'virtual time cannot be moved by work that runs in it; schedule the work instead');
    this.#running = true;
    try {
      this.#endTurn(maxTurns);
      for (let turns = 0; ; turns++) {
        const timer = this.#timers[0];
        if (timer === undefined || timer.at > until) return;
        if (turns >= maxTurns) throw runaway(maxTurns);
        this.#timers.shift();
        this.#now = timer.at;
        this.#attempt(timer.fire);
        this.#endTurn(maxTurns);
      }
    } finally {
      this.#running = false;
    }
  }

  #endTurn(maxWorks: number): void {
    // By index: deferred work may defer more, which belongs to this turn too.
    for (let index = 0; index < this.#deferred.length; index++) {
      if (index >= maxWorks) throw runaway(maxWorks);
      const work = this.#deferred[index];
      if (work) this.#attempt(work);
    }
    this.#deferred.length = 0;
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.report(error, 'deferred work');
    }
  }
}

function runaway(turns: number): UsageError {
  return new UsageError('ERR_TENDRIL_VIRTUAL_TIME', `virtual time did not come to rest within ${String(turns)} turns; use advance() with programs that go on for ever, or raise maxTurns`);
}
