import { readFileSync } from 'node:fs';
import { TendrilError } from '../../core/errors.ts';
import type { ChildConfig } from '../../core/config.ts';
import { encodeFrame } from '../../core/wire/frame.ts';
import { encodeValue } from '../../core/wire/values.ts';

/** Where the build puts the compressed core; the same from the sources and from dist. */
const CORE_FILE = new URL('../../../dist/core.deflate', import.meta.url);

let core: Uint8Array | undefined;

/** The compressed core of a child, raw deflate: built by `npm run build`, one for all children. */
export function compressedCore(): Uint8Array {
  try {
    return (core ??= readFileSync(CORE_FILE));
  } catch (error) {
    throw new TendrilError('ERR_TENDRIL_NO_CORE', 'the core of the children is missing from the package; in a checkout, run npm run build', { cause: error });
  }
}

/** What the first stage reads: the length of the core, the core, and the frame with the child's configuration. */
export function bootstrapParts(bytes: Uint8Array, config: ChildConfig): Uint8Array[] {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  const { data } = encodeValue(config);
  const frame = encodeFrame({ dstId: config.id, srcId: config.parentIds[0] ?? 0, handle: 0, replyTo: 0, data });
  return [length, bytes, frame];
}
