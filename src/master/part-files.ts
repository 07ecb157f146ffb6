import { readFileSync } from 'node:fs';
import { TendrilError } from '../core/errors.ts';
import type { PartName } from '../parent/via/part-ledger.ts';

const parts = new Map<PartName, Uint8Array>();

/** A part of the library as contexts with children of their own get it: built by `npm run build`. */
export function partFile(name: PartName): Uint8Array {
  let part = parts.get(name);
  if (part === undefined) {
    parts.set(name, (part = read(`part-${name}.deflate`)));
  }
  return part;
}

/** A part for the main thread of a child: the text of a function, which goes through the importer. */
export function libraryPart(file: string): string {
  return read(file).toString();
}

function read(name: string): Buffer {
  try {
    return readFileSync(new URL(`../../dist/${name}`, import.meta.url));
  } catch (error) {
    throw new TendrilError('ERR_TENDRIL_NO_CORE', `${name}, a part of the library, is missing from the package; in a checkout, run npm run build`, { cause: error });
  }
}
