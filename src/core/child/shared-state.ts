/** Words of the memory that both threads of a context share. */
const WRITER = 0;
const ANSWERED = 1;
const FLUSHED = 2;
const POSTED = 3;
const READER = 4;
const DISPATCHES = 5;
const ASLEEP = 6;
const PONGS = 7;
const PARTIAL = 8;
const MAIL = 9;
const WORDS = 10;

/** Who is writing to the parent's descriptor. */
const NOBODY = 0;
const MAIN = 1;
const BROKER = 2;

/** One of the two threads. */
export type Thread = typeof MAIN | typeof BROKER;

/** Who reads the parent's descriptor (docs/decisions.md, D-024). */
export const Reader = {
  /** The main thread, and no user code can run but by what it reads. */
  main: 0,
  /** Nobody: the main thread runs user code for what it has read. The broker thread takes over when that takes long. */
  busy: 1,
  /** The broker thread. */
  broker: 2,
  /** Nobody: the broker thread has offered the descriptor to the main thread. */
  given: 3,
} as const;
export type ReaderState = (typeof Reader)[keyof typeof Reader];

/**
 * What the two threads of a child agree on without messages, because one of them may hang: who reads from the parent, who
 * writes to it, and how far a shutdown is.
 */
export class SharedState {
  static readonly main: Thread = MAIN;
  static readonly broker: Thread = BROKER;
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(4 * WORDS)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** Takes the right to write; false while the other thread has it. Never waits. */
  lockWriter(thread: Thread): boolean {
    return Atomics.compareExchange(this.#words, WRITER, NOBODY, thread) === NOBODY;
  }

  /** Gives the right to write back. */
  unlockWriter(): void {
    Atomics.store(this.#words, WRITER, NOBODY);
  }

  /** Main thread: a batch goes to the parent by way of the broker thread. */
  post(): void {
    Atomics.add(this.#words, POSTED, 1);
  }

  /** Broker thread: so many posted batches are written. */
  written(batches: number): void {
    Atomics.sub(this.#words, POSTED, batches);
  }

  /** True when nothing that the main thread has posted is still to be written: only then may it write past the other. */
  get nothingPosted(): boolean {
    return Atomics.load(this.#words, POSTED) === 0;
  }

  get reader(): ReaderState {
    return Atomics.load(this.#words, READER) as ReaderState;
  }

  /** Changes who reads; false, and nothing changes, when it is not `from` any more. */
  moveReader(from: ReaderState, to: ReaderState): boolean {
    return Atomics.compareExchange(this.#words, READER, from, to) === from;
  }

  /** Main thread: something was read, for which user code may be about to run. */
  countDispatch(): void {
    Atomics.add(this.#words, DISPATCHES, 1);
  }

  get dispatches(): number {
    return Atomics.load(this.#words, DISPATCHES);
  }

  /** Broker thread: whether it looks often enough to see that the main thread is stuck. */
  setAsleep(asleep: boolean): void {
    Atomics.store(this.#words, ASLEEP, asleep ? 1 : 0);
  }

  get asleep(): boolean {
    return Atomics.load(this.#words, ASLEEP) === 1;
  }

  /** Main thread: whether it holds the beginning of a message, so that nobody else can read on. */
  setPartial(partial: boolean): void {
    Atomics.store(this.#words, PARTIAL, partial ? 1 : 0);
  }

  get partial(): boolean {
    return Atomics.load(this.#words, PARTIAL) === 1;
  }

  /** Main thread: its loop turns. */
  pong(): void {
    Atomics.add(this.#words, PONGS, 1);
  }

  get pongs(): number {
    return Atomics.load(this.#words, PONGS);
  }

  /** Broker thread: something was posted to the main thread, which may be waiting for it. */
  countMail(): void {
    Atomics.add(this.#words, MAIL, 1);
    Atomics.notify(this.#words, MAIL);
  }

  get mail(): number {
    return Atomics.load(this.#words, MAIL);
  }

  /** Main thread: blocks until something is posted beyond the `seen` that it has looked for already. */
  waitMail(seen: number): void {
    Atomics.wait(this.#words, MAIL, seen);
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
