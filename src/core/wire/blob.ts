import { TAG_BLOB, WIRE } from './tags.ts';
import type { Wired } from './tags.ts';

/** Bytes that print as `[blob: 128 bytes]` instead of filling a log. Otherwise a `Uint8Array`. */
export class Blob extends Uint8Array implements Wired {
  static get [Symbol.species](): Uint8ArrayConstructor {
    return Uint8Array;
  }

  /** A blob over the memory of `bytes`; nothing is copied. */
  static wrap(bytes: Uint8Array): Blob {
    return new Blob(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
  }

  override toString(): string {
    return `[blob: ${String(this.length)} bytes]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  [WIRE](): { tag: number; content: unknown } {
    return { tag: TAG_BLOB, content: new Uint8Array(this.buffer, this.byteOffset, this.byteLength) };
  }
}
