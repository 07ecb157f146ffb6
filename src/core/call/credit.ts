import { DecodeError } from '../errors.ts';
import { MAX_WAITING_BYTES, MAX_WAITING_VALUES } from './protocol.ts';
import type { WindowSize } from './remote-stream.ts';

/**
 * The callee's side of credit: what may be sent, and what must wait.
 *
 * A value goes out while less than a window of values and of bytes is unacknowledged; one value may always be in flight,
 * however large.
 */
export class CreditWindow<T> {
  #values = 0;
  #bytes = 0;
  #waiting: { item: T; bytes: number }[] = [];
  /** The first of `#waiting` that is not sent. */
  #first = 0;
  #waitingBytes = 0;
  readonly #send: (item: T) => void;
  readonly #size: WindowSize;

  constructor(send: (item: T) => void, size: WindowSize) {
    this.#size = size;
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

  /** Takes an acknowledgement; false when it is none: of more than is in flight, or of what is no number. */
  grant(values: unknown, bytes: unknown): boolean {
    if (!isCount(values, this.#values) || !isCount(bytes, this.#bytes)) return false;
    this.#values -= values;
    this.#bytes -= bytes;
    // Sending may bring the next acknowledgement at once, which goes on where this one is.
    for (let next = this.#waiting[this.#first]; next !== undefined && this.#hasCredit(); next = this.#waiting[this.#first]) {
      this.#first++;
      this.#waitingBytes -= next.bytes;
      this.#dispatch(next.item, next.bytes);
    }
    if (this.#first > 0) this.#waiting = this.#waiting.slice(this.#first);
    this.#first = 0;
    return true;
  }

  #hasCredit(): boolean {
    return this.#values === 0 || (this.#values < this.#size[0] && this.#bytes < this.#size[1]);
  }

  #dispatch(item: T, bytes: number): void {
    this.#values++;
    this.#bytes += bytes;
    this.#send(item);
  }
}

/** Checks the window that a consumer asks for. */
export function windowOf(size: unknown): WindowSize {
  const [values, bytes] = Array.isArray(size) ? (size as unknown[]) : [];
  if (!isCount(values, MAX_WAITING_VALUES) || !isCount(bytes, MAX_WAITING_BYTES) || values * bytes === 0) throw new DecodeError('a window is not valid');
  return [values, bytes];
}

function isCount(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
}
