import type { ChildConfig } from '../../core/config.ts';
import { encodeFrame } from '../../core/wire/frame.ts';
import { encodeValue } from '../../core/wire/values.ts';

/** What the first stage reads (the core, a code cache or nothing), and the frame with the child's configuration. */
export function bootstrapParts(bytes: Uint8Array, codeCacheBytes: Uint8Array, config: ChildConfig): Uint8Array[] {
  const { data } = encodeValue(config);
  const frame = encodeFrame({ dstId: config.id, srcId: config.parentIds[0] ?? 0, handle: 0, replyTo: 0, data });
  return [prefix(bytes), bytes, prefix(codeCacheBytes), codeCacheBytes, frame];
}

function prefix(block: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(block.length);
  return length;
}
