import type { Rate } from '../core/config.ts';

/** Counts how often something may be done within a {@link Rate}. */
export class TokenBucket {
  readonly #rate: Rate;
  #tokens: number;
  #since: number;

  constructor(rate: Rate, now: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#since = now;
  }

  /** Whether it may be done `now` (a time of the Broker, in milliseconds); then it counts as done. */
  take(now: number): boolean {
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + ((now - this.#since) * this.#rate.perSecond) / 1000);
    this.#since = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
