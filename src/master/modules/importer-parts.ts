import { readFileSync } from 'node:fs';
import { compileFunction } from 'node:vm';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { TendrilError } from '../../core/errors.ts';
import type { Profile } from '../../core/importer/records.ts';

const parts = new Map<Profile, Uint8Array>();
const codeCaches = new Map<Profile, Uint8Array | undefined>();

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

/** V8's code cache of the importer, for children that run the very Node of this process. */
export function importerCodeCache(profile: Profile): Uint8Array | undefined {
  if (!codeCaches.has(profile)) {
    // Exactly as the core compiles it (src/core/importer/importer.ts).
    const { cachedData } = compileFunction(String(inflateRawSync(importerPart(profile))), ['require', 'host'], { filename: 'tendril-importer', produceCachedData: true }) as { readonly cachedData?: Uint8Array };
    codeCaches.set(profile, cachedData);
  }
  return codeCaches.get(profile);
}
