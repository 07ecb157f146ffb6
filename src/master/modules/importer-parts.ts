import { readFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { TendrilError } from '../../core/errors.ts';
import type { Profile } from '../../core/importer/records.ts';

const parts = new Map<Profile, Uint8Array>();

/** The importer itself, compressed, which is sent ahead of the first module: built by `npm run build`. */
export function importerPart(profile: Profile): Uint8Array {
  let part = parts.get(profile);
  if (part === undefined) {
    try {
      part = deflateRawSync(readFileSync(new URL(`../../../dist/importer-${profile}.js`, import.meta.url)));
    } catch (error) {
      throw new TendrilError('ERR_TENDRIL_NO_CORE', 'the importer of the children is missing from the package; in a checkout, run npm run build', { cause: error });
    }
    parts.set(profile, part);
  }
  return part;
}
