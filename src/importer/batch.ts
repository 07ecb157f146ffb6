import { inflateRawSync } from 'node:zlib';
import type { ModuleLink, ModuleFormat, ModuleRecord, Target } from '../core/importer/records.ts';

type Head = readonly [id: string, format: ModuleFormat, length: number, requires: Record<string, Target>, imports: Record<string, Target>, names: string[], link: ModuleLink | null];

const PREFIX = 4;
/** Bytes that one LOAD_MODULE may inflate to. */
const MAX_BATCH_BYTES: number = 256 * 1024 * 1024;

/**
 * Records in one piece, to be compressed: the length of a JSON text, that text, then the sources one after another. JSON,
 * because the engine's own parser reads hundreds of maps in a tenth of the time that the checked decoder takes, and what
 * comes from a parent need not be checked (docs/decisions.md, D-029).
 */
export function joinRecords(records: readonly ModuleRecord[]): Buffer {
  const heads = records.map(([id, format, source, requires, imports, names, link]) => [id, format, source.length, requires, imports, names, link]);
  const head = Buffer.from(JSON.stringify(heads));
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32BE(head.length);
  return Buffer.concat([prefix, head, ...records.map(([, , source]) => source)]);
}

/** The code caches of the records of a batch in one piece, in their order: the length of each (0: none), then their bytes. */
export function joinCodeCaches(caches: readonly (Uint8Array | undefined)[]): Buffer {
  const lengths = Buffer.alloc(caches.length * PREFIX);
  caches.forEach((cache, index) => lengths.writeUInt32BE(cache?.length ?? 0, index * PREFIX));
  return Buffer.concat([lengths, ...caches.filter((cache) => cache !== undefined)]);
}

/** The other way round, for so many records. Views. */
export function cutCodeCaches(bytes: Uint8Array, count: number): (Uint8Array | undefined)[] {
  const lengths = new DataView(bytes.buffer, bytes.byteOffset, count * PREFIX);
  let at = count * PREFIX;
  return Array.from({ length: count }, (_, index) => {
    const length = lengths.getUint32(index * PREFIX);
    const cache = length === 0 ? undefined : bytes.subarray(at, at + length);
    at += length;
    return cache;
  });
}

/** The records of a LOAD_MODULE: the other way round. The sources are views. */
export function unpackRecords(packed: Uint8Array): ModuleRecord[] {
  if (packed.length === 0) return [];
  const bytes = inflateRawSync(packed, { maxOutputLength: MAX_BATCH_BYTES });
  let at = PREFIX + bytes.readUInt32BE(0);
  const heads = JSON.parse(bytes.toString('utf8', PREFIX, at)) as Head[];
  return heads.map(([id, format, length, requires, imports, names, link]) => {
    const source = bytes.subarray(at, at + length);
    at += length;
    return [id, format, source, requires, imports, names, link];
  });
}
