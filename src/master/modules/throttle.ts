import type { Subscription } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';

/** Limits of a {@link Throttle}. */
export interface ThrottleLimits {
  /** What may be done at once after a pause. */
  readonly burst: number;
  /** What may be done per second in the long run. */
  readonly perSecond: number;
  /** What may wait; more is refused. */
  readonly queue: number;
}

/** Does pieces of work in order, no faster than its limits. */
export class Throttle {
  readonly #broker: Broker;
  readonly #limits: ThrottleLimits;
  readonly #queue: (() => void)[] = [];
  #tokens: number;
  #since: number;
  #timer: Subscription | undefined;

  constructor(broker: Broker, limits: ThrottleLimits) {
    this.#broker = broker;
    this.#limits = limits;
    this.#tokens = limits.burst;
    this.#since = broker.now();
  }

  /** Does `work` now or in its turn; false, and nothing happens, when too much waits. */
  run(work: () => void): boolean {
    if (this.#queue.length === 0 && this.#take()) {
      work();
      return true;
    }
    if (this.#queue.length >= this.#limits.queue) return false;
    this.#queue.push(work);
    this.#later();
    return true;
  }

  #take(): boolean {
    const now = this.#broker.now();
    this.#tokens = Math.min(this.#limits.burst, this.#tokens + ((now - this.#since) * this.#limits.perSecond) / 1000);
    this.#since = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Forgets what waits. */
  close(): void {
    this.#queue.length = 0;
    this.#timer?.unsubscribe();
  }

  #later(): void {
    if (this.#timer) return;
    this.#timer = this.#broker.after(1000 / this.#limits.perSecond, () => {
      this.#timer = undefined;
      while (this.#queue.length > 0 && this.#take()) this.#queue.shift()?.();
      if (this.#queue.length > 0) this.#later();
    });
  }
}
