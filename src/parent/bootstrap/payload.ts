import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Script } from 'node:vm';
import { inflateRawSync } from 'node:zlib';
import { TendrilError } from '../../core/errors.ts';

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

let cache: Uint8Array | undefined;

/**
 * V8's code cache of the core, for children that run the very Node that runs this process: it saves them 8 ms of
 * compiling. Only ever made here: V8 does not check a cache against its source, so one that came from a child could
 * plant code in its siblings.
 */
export function codeCache(): Uint8Array {
  if (cache) return cache;
  const script = new Script(String(inflateRawSync(compressedCore())), { filename: 'tendril-core' });
  const evaluate = script.runInThisContext() as (require: NodeJS.Require, core: Uint8Array, thread: null) => void;
  // What has run is in the cache; what has not would have to be compiled over there.
  evaluate(createRequire(import.meta.url), compressedCore(), null);
  return (cache = script.createCachedData());
}
