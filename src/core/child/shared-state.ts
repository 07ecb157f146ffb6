/** Words of the memory that both threads of a context share. */
const WRITER = 0;
const ANSWERED = 1;
const FLUSHED = 2;
const WORDS = 4;

/** Who may write to the parent's descriptor. */
const FREE = 0;
const MAIN_WRITES = 1;
const BROKER_OWNS = 2;

/**
 * What the two threads of a child agree on without messages, because one of them may hang.
 *
 * The writer word goes FREE -> MAIN_WRITES -> FREE while the main thread writes by itself, and FREE -> BROKER_OWNS once
 * and for good when the broker thread has started.
 */
export class SharedState {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(4 * WORDS)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** Main thread: runs `write` while the descriptor is ours; false when the broker thread owns it. */
  writeAsMain(write: () => void): boolean {
    if (Atomics.compareExchange(this.#words, WRITER, FREE, MAIN_WRITES) === BROKER_OWNS) return false;
    try {
      write();
    } finally {
      Atomics.store(this.#words, WRITER, FREE);
    }
    return true;
  }

  /** Broker thread: takes the descriptor for good; false while the main thread is in the middle of a write. */
  claimWriter(): boolean {
    return Atomics.compareExchange(this.#words, WRITER, FREE, BROKER_OWNS) === FREE;
  }

  /** Main thread: SHUTDOWN was seen. */
  answer(): void {
    Atomics.store(this.#words, ANSWERED, 1);
  }

  get answered(): boolean {
    return Atomics.load(this.#words, ANSWERED) === 1;
  }

  /** Main thread, about to exit: waits until the broker thread has written everything. */
  waitFlushed(ms: number): void {
    Atomics.wait(this.#words, FLUSHED, 0, ms);
  }

  /** Broker thread: everything is written. */
  flushed(): void {
    Atomics.store(this.#words, FLUSHED, 1);
    Atomics.notify(this.#words, FLUSHED);
  }
}
