import type { Life } from './life.ts';

/** So many calls at a time; the others wait in their order, up to a limit. */
export class Slots {
  readonly #limit: number;
  readonly #queueLimit: number;
  readonly #full: () => Error;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  /** @param full - makes the error for one too many */
  constructor(limit: number, queueLimit: number, full: () => Error) {
    this.#limit = limit;
    this.#queueLimit = queueLimit;
    this.#full = full;
  }

  /** How many calls have a slot, and how many wait for one. */
  get size(): readonly [taken: number, waiting: number] {
    return [this.#taken, this.#waiting.size];
  }

  /**
   * Takes a slot: true when there was one, else a promise for it. That rejects when the life of the call ends before.
   * Throws when too many wait already.
   */
  take(life: Life): true | Promise<void> {
    if (this.#taken < this.#limit) {
      this.#taken++;
      return true;
    }
    if (this.#waiting.size >= this.#queueLimit) throw this.#full();
    return new Promise((resolve, reject) => {
      this.#waiting.add(resolve);
      life.then(() => {
        if (this.#waiting.delete(resolve)) reject(new Error('the call was cancelled while it waited'));
      });
    });
  }

  /** Gives a slot back: to the one that waits longest. */
  release(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#taken--;
    else {
      this.#waiting.delete(next);
      next();
    }
  }
}
