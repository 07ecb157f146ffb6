import { readFileSync } from 'node:fs';
import { TendrilError } from '../core/errors.ts';
import type { PartName } from '../parent/via/part-ledger.ts';

const parts = new Map<PartName, Uint8Array>();

/** A part of the library as contexts with children of their own get it: built by `npm run build`. */
export function partFile(name: PartName): Uint8Array {
  let part = parts.get(name);
  if (part === undefined) {
    try {
      part = readFileSync(new URL(`../../dist/part-${name}.deflate`, import.meta.url));
    } catch (error) {
      throw new TendrilError('ERR_TENDRIL_NO_CORE', `the part ${name} of the library is missing from the package; in a checkout, run npm run build`, { cause: error });
    }
    parts.set(name, part);
  }
  return part;
}
