import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import type { ModuleRecord } from '../../core/importer/records.ts';
import { joinRecords } from '../../importer/batch.ts';

/** Bytes of packed batches that are kept for the next context that needs the same modules. */
const MAX_KEPT: number = 64 * 1024 * 1024;
/** Bytes of sources from which a batch is split, so that no message holds a link for long. */
const MAX_BATCH: number = 4 * 1024 * 1024;

/** Modules as they travel: packed once for all contexts that need just these. */
export interface Pack {
  readonly packed: Uint8Array;
  /** Whether it was there already. */
  readonly kept: boolean;
  /** What is in it. */
  readonly records: readonly ModuleRecord[];
}

/** Packs records for LOAD_MODULE: joined, then deflate over all of them together (docs/decisions.md, D-029). */
export class Packer {
  readonly #kept = new Map<string, Uint8Array>();
  readonly #hashes = new WeakMap<ModuleRecord, string>();
  #bytes = 0;

  /** The records in batches of a size that suits a link; their order is kept. */
  split(records: readonly ModuleRecord[]): ModuleRecord[][] {
    const batches: ModuleRecord[][] = [];
    let batch: ModuleRecord[] = [];
    let bytes = 0;
    for (const record of records) {
      if (batch.length > 0 && bytes + record[2].length > MAX_BATCH) {
        batches.push(batch);
        batch = [];
        bytes = 0;
      }
      batch.push(record);
      bytes += record[2].length;
    }
    if (batch.length > 0) batches.push(batch);
    return batches;
  }

  pack(records: readonly ModuleRecord[]): Pack {
    const key = this.#key(records);
    const known = this.#kept.get(key);
    if (known) {
      // The least used goes first.
      this.#kept.delete(key);
      this.#kept.set(key, known);
      return { packed: known, kept: true, records };
    }
    const packed = deflateRawSync(joinRecords(records));
    this.#kept.set(key, packed);
    this.#bytes += packed.length;
    for (const [old, bytes] of this.#kept) {
      if (this.#bytes <= MAX_KEPT) break;
      this.#kept.delete(old);
      this.#bytes -= bytes.length;
    }
    return { packed, kept: false, records };
  }

  #key(records: readonly ModuleRecord[]): string {
    const hash = createHash('sha256');
    for (const record of records) {
      let own = this.#hashes.get(record);
      if (own === undefined) {
        own = createHash('sha256').update(JSON.stringify([record[0], record[1], record[3], record[4], record[5], record[6]])).update(record[2]).digest('hex');
        this.#hashes.set(record, own);
      }
      hash.update(own);
    }
    return hash.digest('hex');
  }
}
