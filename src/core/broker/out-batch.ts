import { HEADER_LENGTH, OWN_BUFFER_THRESHOLD, payloadLength, writeHeader } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';

const ACCUMULATOR_SIZE = 64 * 1024;

/**
 * Collects the frames of one turn for one link: small ones side by side in one buffer, large payloads by reference.
 * One write per turn instead of one per frame is worth a factor of ten (docs/decisions.md, D-008).
 */
export class OutBatch {
  #parts: Uint8Array[] = [];
  #accumulator: Buffer = Buffer.allocUnsafeSlow(ACCUMULATOR_SIZE);
  /** Start and end, in the accumulator, of what is not in `#parts` yet. */
  #start = 0;
  #end = 0;
  /** Bytes waiting. */
  bytes = 0;

  push(message: Message): void {
    if (message.frame !== undefined) {
      this.#bytes(message.frame);
      return;
    }
    const length = payloadLength(message);
    if (this.#accumulator.length - this.#end < HEADER_LENGTH) this.#renew();
    writeHeader(this.#accumulator, this.#end, message, length);
    this.#end += HEADER_LENGTH;
    this.bytes += HEADER_LENGTH;
    this.#bytes(message.data);
    if (message.tail) for (const part of message.tail) this.#bytes(part);
  }

  /** Everything that waits, in order; the batch is empty afterwards. */
  take(): Uint8Array[] {
    this.#cut();
    const parts = this.#parts;
    this.#parts = [];
    this.bytes = 0;
    return parts;
  }

  /** To be called when all parts that were taken are written: their memory is used again. */
  reuse(): void {
    if (this.bytes === 0) {
      this.#start = 0;
      this.#end = 0;
    }
  }

  #bytes(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (bytes.length >= OWN_BUFFER_THRESHOLD) {
      this.#cut();
      this.#parts.push(bytes);
      return;
    }
    if (this.#accumulator.length - this.#end < bytes.length) this.#renew();
    this.#accumulator.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  #cut(): void {
    if (this.#end > this.#start) this.#parts.push(this.#accumulator.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #renew(): void {
    this.#cut();
    this.#accumulator = Buffer.allocUnsafeSlow(ACCUMULATOR_SIZE);
    this.#start = 0;
    this.#end = 0;
  }
}
