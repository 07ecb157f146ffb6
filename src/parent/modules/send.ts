import type { ModuleAnswer, ModuleBatch, ModuleRecord, Profile } from '../../core/importer/records.ts';
import type { Router } from '../../core/routing/router.ts';
import { LOAD_MODULE } from '../../core/wire/handles.ts';
import { encodeValue } from '../../core/wire/values.ts';
import type { Packer } from './packs.ts';

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
  /** Batches that had been packed before. */
  readonly kept: number;
}

/** Sends records and answers to a direct child as LOAD_MODULE messages; the answers come last, when all is there. */
export function sendModules(router: Router, packer: Packer, childId: number, profile: Profile, records: readonly ModuleRecord[], answers: readonly ModuleAnswer[]): Sent {
  const batches = packer.split(records);
  if (batches.length === 0 && answers.length > 0) batches.push([]);
  let bytes = 0;
  let kept = 0;
  batches.forEach((batch, index) => {
    const pack = batch.length === 0 ? { packed: NOTHING, kept: false } : packer.pack(batch);
    if (pack.kept) kept++;
    bytes += pack.packed.length;
    sendValue(router, childId, LOAD_MODULE, [profile, index === batches.length - 1 ? answers : [], pack.packed] satisfies ModuleBatch);
  });
  return { bytes, kept };
}
