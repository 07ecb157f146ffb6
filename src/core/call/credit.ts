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
    return this.#waiting.length;
  }

  /** True when a value given now would be sent at once. */
  get open(): boolean {
    return this.#waiting.length === 0 && this.#hasCredit();
  }

  /** Sends the item or makes it wait; false when too much waits already, and the item is refused. */
  offer(item: T, bytes: number): boolean {
    if (this.open) {
      this.#dispatch(item, bytes);
      return true;
    }
    if (this.#waiting.length >= MAX_WAITING_VALUES || this.#waitingBytes + bytes > MAX_WAITING_BYTES) return false;
    this.#waiting.push({ item, bytes });
    this.#waitingBytes += bytes;
    return true;
  }

  /** Takes an acknowledgement. More than is in flight is ignored. */
  grant(values: number, bytes: number): void {
    this.#values = Math.max(0, this.#values - values);
    this.#bytes = this.#values === 0 ? 0 : Math.max(0, this.#bytes - bytes);
    let sent = 0;
    for (const { item, bytes: size } of this.#waiting) {
      if (!this.#hasCredit()) break;
      this.#waitingBytes -= size;
      sent++;
      this.#dispatch(item, size);
    }
    if (sent > 0) this.#waiting = this.#waiting.slice(sent);
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
