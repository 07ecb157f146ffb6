import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** How the bytes of a file are compared. */
export type ChecksumKind = 'crc32' | 'sha256';

/** A checksum of bytes that come in pieces, in hexadecimal digits. */
export class Checksum {
  #hash: Hash | undefined;
  #crc = 0;

  constructor(kind: ChecksumKind) {
    if (kind === 'sha256') this.#hash = createHash('sha256');
  }

  update(bytes: Uint8Array): void {
    if (this.#hash) this.#hash.update(bytes);
    else this.#crc = crc32(bytes, this.#crc);
  }

  /** Of what has come so far; more may come. */
  get digest(): string {
    return this.#hash ? this.#hash.copy().digest('hex') : this.#crc.toString(16).padStart(8, '0');
  }
}

/** Whether a text is one. */
export function isChecksum(value: unknown, kind: ChecksumKind): value is string {
  return typeof value === 'string' && (kind === 'sha256' ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{8}$/).test(value);
}
