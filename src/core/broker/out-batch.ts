import { HEADER_LENGTH, OWN_BUFFER_THRESHOLD, payloadLength, writeHeader } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';

const ACCUMULATOR_SIZE = 64 * 1024;
/** Bytes that are never used, so that a part of an accumulator is never all of its memory (PortLink gives such away). */
const SPARE = 8;

/**
 * Collects the frames of one turn for one link: small ones side by side in one buffer, large payloads by reference.
 * One write per turn instead of one per frame is worth a factor of ten (docs/decisions.md, D-008).
 */
export class OutBatch {
  #parts: Uint8Array[] = [];
  #accumulator: Buffer = Buffer.allocUnsafeSlow(ACCUMULATOR_SIZE + SPARE);
  /** Start and end, in the accumulator, of what is not in `#parts` yet. */
  #start = 0;
  #end = 0;
  /** Neighbouring frames of one received buffer, which go on as one part. */
  #run: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;
  /** Bytes waiting. */
  bytes = 0;

  push(message: Message): void {
    if (message.buffer !== undefined) {
      this.#pass(message.buffer, message.start ?? 0, message.end ?? 0);
      return;
    }
    if (this.#run !== undefined) this.#cutRun();
    const length = payloadLength(message);
    if (ACCUMULATOR_SIZE - this.#end < HEADER_LENGTH) this.#renew();
    writeHeader(this.#accumulator, this.#end, message, length);
    this.#end += HEADER_LENGTH;
    this.bytes += HEADER_LENGTH;
    this.#bytes(message.data);
    if (message.tail) for (const part of message.tail) this.#bytes(part);
  }

  /** Everything that waits, in order; the batch is empty afterwards. */
  take(): Uint8Array[] {
    this.#cutRun();
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

  #pass(buffer: Buffer, start: number, end: number): void {
    this.bytes += end - start;
    if (this.#run === buffer && this.#runEnd === start) {
      this.#runEnd = end;
      return;
    }
    this.#cutRun();
    this.#cut();
    this.#run = buffer;
    this.#runStart = start;
    this.#runEnd = end;
  }

  #cutRun(): void {
    if (this.#run === undefined) return;
    this.#parts.push(this.#runEnd - this.#runStart === this.#run.length ? this.#run : this.#run.subarray(this.#runStart, this.#runEnd));
    this.#run = undefined;
  }

  #bytes(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    if (bytes.length >= OWN_BUFFER_THRESHOLD) {
      this.#cut();
      this.#parts.push(bytes);
      return;
    }
    if (ACCUMULATOR_SIZE - this.#end < bytes.length) this.#renew();
    this.#accumulator.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  #cut(): void {
    if (this.#end > this.#start) this.#parts.push(this.#accumulator.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  #renew(): void {
    this.#cut();
    this.#accumulator = Buffer.allocUnsafeSlow(ACCUMULATOR_SIZE + SPARE);
    this.#start = 0;
    this.#end = 0;
  }
}
