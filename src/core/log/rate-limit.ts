/** Admits so many events within each stretch of time. */
export class RateLimit {
  readonly #count: number;
  readonly #windowMs: number;
  #since = -Infinity;
  #admitted = 0;

  constructor(count: number, windowMs: number) {
    this.#count = count;
    this.#windowMs = windowMs;
  }

  /** Whether the event that happens `now` (a time of the Broker) is within the limit. */
  admits(now: number): boolean {
    if (now - this.#since > this.#windowMs) {
      this.#since = now;
      this.#admitted = 0;
    }
    return this.#admitted++ < this.#count;
  }
}
