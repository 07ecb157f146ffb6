import type { Broker } from '../broker/broker.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_CONTROL } from '../wire/handles.ts';

/** Bytes of bulk that are given to a link before it has written them: everything else waits behind no more of it. */
export const GIVEN_BYTES: number = 128 * 1024;

/** Bytes of bulk in a millisecond, for each processor, on a link that small messages use too. */
export const SHARED_BYTES: number = 128 * 1024;

/** A link is shared when so many small messages pass in so many milliseconds. */
export const SHARED_MESSAGES = 3;
export const SHARED_MS = 20;

/**
 * Decides how much bulk a link gets. Bulk that goes as fast as it can keeps all processors of a small machine busy, so that a
 * small message waits for one at each thread on its way: bulk has a rate while there are such messages (docs/decisions.md, D-107).
 */
export class Pacer {
  readonly #broker: Broker;
  readonly #bytesPerMs: number;
  #shared = false;
  /** Small messages since `#counted`. */
  #small = 0;
  #counted = 0;
  /** Bytes of bulk since `#begun`. */
  #given = 0;
  #begun = 0;
  /** When bulk was last on its way. */
  #last = 0;

  /** @param bytesPerSecond - of bulk beside small messages; undefined: by the number of processors */
  constructor(broker: Broker, bytesPerSecond: number = SHARED_BYTES * 1000 * broker.processors) {
    this.#broker = broker;
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Looks at a message that overtakes bulk. The end of a large one is none, nor is what every stream needs. */
  note({ handle, part }: Message): void {
    if (handle !== CALL_CONTROL && !part) this.#small++;
  }

  /** Whether the link may have more, when it has so many bytes that are not written. */
  mayGive(unwritten: number): boolean {
    return this.#shared ? !this.due && unwritten === 0 : unwritten < GIVEN_BYTES;
  }

  /** Whether there has to be a {@link Pacer.pause} first. */
  get due(): boolean {
    return this.#given >= this.#bytesPerMs;
  }

  /** Notes that the link gets bulk. */
  give(bytes: number): void {
    const now = this.#broker.now();
    // What passed while there was no bulk says nothing.
    if (now - this.#last > SHARED_MS) {
      this.#count(now, false);
      this.#given = 0;
    }
    if (this.#given === 0) this.#begun = now;
    this.#given += bytes;
    this.#last = now;
  }

  /** Milliseconds until the link may have more. */
  pause(): number {
    if (!this.due) return 0;
    const now = this.#broker.now();
    const shared = this.#small >= SHARED_MESSAGES;
    if (shared || now - this.#counted >= SHARED_MS) this.#count(now, shared);
    return this.#shared ? Math.max(0, Math.ceil(this.#begun + this.#given / this.#bytesPerMs - now)) : 0;
  }

  /** The pause is over. */
  resume(): void {
    if (!this.due) return;
    this.#given = 0;
    this.#last = this.#broker.now();
  }

  #count(from: number, shared: boolean): void {
    this.#shared = shared;
    this.#small = 0;
    this.#counted = from;
  }
}
