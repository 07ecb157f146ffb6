import type { Subscription } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { TokenBucket } from '../../parent/token-bucket.ts';
import type { Rate } from '../../core/config.ts';

/** Limits of a {@link Throttle}. */
export interface ThrottleLimits extends Rate {
  /** What may wait; more is refused. */
  readonly queue: number;
}

/** Does pieces of work in order, no faster than its limits. */
export class Throttle {
  readonly #broker: Broker;
  readonly #limits: ThrottleLimits;
  readonly #queue: (() => void)[] = [];
  readonly #bucket: TokenBucket;
  #timer: Subscription | undefined;

  constructor(broker: Broker, limits: ThrottleLimits) {
    this.#broker = broker;
    this.#limits = limits;
    this.#bucket = new TokenBucket(limits, broker.now());
  }

  /** Does `work` now or in its turn; false, and nothing happens, when too much waits. */
  run(work: () => void): boolean {
    if (this.#queue.length === 0 && this.#bucket.take(this.#broker.now())) {
      work();
      return true;
    }
    if (this.#queue.length >= this.#limits.queue) return false;
    this.#queue.push(work);
    this.#later();
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
      while (this.#queue.length > 0 && this.#bucket.take(this.#broker.now())) this.#queue.shift()?.();
      if (this.#queue.length > 0) this.#later();
    });
  }
}
