import type { ModuleAnswer, ModuleBatch, ModuleRecord, Profile } from '../../core/importer/records.ts';
import type { Router } from '../../core/routing/router.ts';
import { LOAD_MODULE } from '../../core/wire/handles.ts';
import { encodeValue } from '../../core/wire/values.ts';
import type { Pack, Packer } from './packs.ts';

const NOTHING = new Uint8Array(0);

/** Sends a value to a handle of another context. Returns its bytes. */
export function sendValue(router: Router, dstId: number, handle: number, value: unknown): number {
  const { data, tail } = encodeValue(value);
  router.send({ dstId, srcId: router.id, handle, replyTo: 0, data, ...(tail && { tail }) });
  return (tail ?? []).reduce((sum, part) => sum + part.length, data.length);
}

/** What sending came to. */
export interface Sent {
  readonly bytes: number;
  readonly codeCacheBytes: number;
  /** Batches that had been packed before. */
  readonly kept: number;
}

/** What stands for the importer where it is noted what a link has had. */
export const IMPORTER = 'tendril:importer';

/** Sends the importer, compressed, to a direct child: ahead of the first module. */
export function sendImporter(router: Router, childId: number, profile: Profile, packed: Uint8Array, codeCache?: Uint8Array): void {
  sendValue(router, childId, LOAD_MODULE, withCodeCaches([profile, null, packed], codeCache));
}

/** Bytes that are left in a message for what is not modules. */
const SLACK = 16 * 1024;

/** Gives the code caches of a batch, joined, for a child that can use them. */
export type CodeCachesOf = (records: readonly ModuleRecord[], packed: Uint8Array) => Uint8Array | undefined;

/** Sends records and answers to a direct child as LOAD_MODULE messages; the answers come last, when all is there. */
export function sendModules(router: Router, packer: Packer, childId: number, profile: Profile, records: readonly ModuleRecord[], answers: readonly ModuleAnswer[], codeCachesOf?: CodeCachesOf): Sent {
  const limit = router.maxMessageSize - SLACK;
  const packs = packer.split(records).flatMap((batch) => packWithin(packer, batch, limit));
  if (packs.length === 0 && answers.length > 0) packs.push({ packed: NOTHING, kept: false, records: [] });
  let codeCacheBytes = 0;
  packs.forEach(({ packed, records: batch }, index) => {
    const caches = codeCachesOf?.(batch, packed);
    const fitting = caches && packed.length + caches.length <= limit ? caches : undefined;
    codeCacheBytes += fitting?.length ?? 0;
    sendValue(router, childId, LOAD_MODULE, withCodeCaches([profile, index === packs.length - 1 ? answers : [], packed], fitting));
  });
  return { bytes: packs.reduce((sum, { packed }) => sum + packed.length, 0), codeCacheBytes, kept: packs.filter(({ kept }) => kept).length };
}

function withCodeCaches(batch: readonly [Profile, readonly ModuleAnswer[] | null, Uint8Array], caches: Uint8Array | undefined): ModuleBatch {
  return caches ? [...batch, caches] : batch;
}

/** Packs that fit into messages: of fewer modules where many are too large together. */
function packWithin(packer: Packer, batch: readonly ModuleRecord[], limit: number): Pack[] {
  const pack = packer.pack(batch);
  if (pack.packed.length <= limit) return [pack];
  if (batch.length > 1) {
    const half = batch.length >> 1;
    return [...packWithin(packer, batch.slice(0, half), limit), ...packWithin(packer, batch.slice(half), limit)];
  }
  return batch.flatMap((record) => packWithin(packer, [tooLarge(record, limit)], limit));
}

/** What is sent in the place of a module that no message can carry. */
function tooLarge([id]: ModuleRecord, limit: number): ModuleRecord {
  const failure = ['Error', 'ERR_TENDRIL_MODULE_TOO_LARGE', `${id} is larger, compressed, than the ${String(limit)} bytes that a message has for it; raise maxMessageSize at the master, or read it as a file`];
  return [id, 'error', Buffer.from(JSON.stringify(failure)), {}, {}, [], null];
}
