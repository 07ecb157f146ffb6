import { MAX_WAITING_BYTES, MAX_WAITING_VALUES, WINDOW_BYTES, WINDOW_VALUES } from './protocol.ts';

/**
 * The callee's side of credit: what may be sent, and what must wait.
 *
 * A value goes out while fewer than WINDOW_VALUES values and less than WINDOW_BYTES bytes are unacknowledged; one value
 * may always be in flight, however large.
 */
export class CreditWindow<T> {
  #values = 0;
  #bytes = 0;
  #waiting: { item: T; bytes: number }[] = [];
  /** The first of `#waiting` that is not sent. */
  #first = 0;
  #waitingBytes = 0;
  readonly #send: (item: T) => void;

  constructor(send: (item: T) => void) {
    this.#send = send;
  }

  /** Unacknowledged values. */
  get inFlight(): number {
    return this.#values;
  }

  /** Unacknowledged bytes. */
  get bytesInFlight(): number {
    return this.#bytes;
  }

  /** Values that wait for credit. */
  get waiting(): number {
    return this.#waiting.length - this.#first;
  }

  /** True when a value given now would be sent at once. */
  get open(): boolean {
    return this.waiting === 0 && this.#hasCredit();
  }

  /** Sends the item or makes it wait; false when too much waits already, and the item is refused. */
  offer(item: T, bytes: number): boolean {
    if (this.open) {
      this.#dispatch(item, bytes);
      return true;
    }
    if (this.waiting >= MAX_WAITING_VALUES || this.#waitingBytes + bytes > MAX_WAITING_BYTES) return false;
    this.#waiting.push({ item, bytes });
    this.#waitingBytes += bytes;
    return true;
  }

  /** Takes an acknowledgement. More than is in flight is ignored. */
  grant(values: number, bytes: number): void {
    this.#values = Math.max(0, this.#values - values);
    this.#bytes = this.#values === 0 ? 0 : Math.max(0, this.#bytes - bytes);
    // Sending may bring the next acknowledgement at once, which goes on where this one is.
    for (let next = this.#waiting[this.#first]; next !== undefined && this.#hasCredit(); next = this.#waiting[this.#first]) {
      this.#first++;
      this.#waitingBytes -= next.bytes;
      this.#dispatch(next.item, next.bytes);
    }
    if (this.#first === 0) return;
    this.#waiting = this.#waiting.slice(this.#first);
    this.#first = 0;
  }

  #hasCredit(): boolean {
    return this.#values === 0 || (this.#values < WINDOW_VALUES && this.#bytes < WINDOW_BYTES);
  }

  #dispatch(item: T, bytes: number): void {
    this.#values++;
    this.#bytes += bytes;
    this.#send(item);
  }
}
