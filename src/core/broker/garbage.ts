import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Bytes of memory outside of V8's heap that may be garbage before it is looked for. */
const LIMIT: number = 8 * 1024 * 1024;
/** Milliseconds between two collections: a fast stream is V8's own business. */
const PAUSE_MS = 250;

type Collect = (options: { readonly type: 'minor' }) => void;

let made = 0;
let last = -Infinity;
let collect: Collect | undefined;

/** The way to V8's collector for a process that was started without it; no flag stays set. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('globalThis.gc') as Collect | undefined;
  setFlagsFromString('--no-expose-gc');
  return gc ?? (() => undefined);
}

/**
 * Notes that a large message was made, which will be garbage soon. V8 lets 32 MiB of such memory pile up before it collects
 * its young generation, which who reads a large value now and then would see as growth (docs/decisions.md, D-105).
 */
export function noteGarbage(bytes: number, now: number): void {
  made += bytes;
  if (made < LIMIT || now - last < PAUSE_MS) return;
  made = 0;
  last = now;
  (collect ??= collector())({ type: 'minor' });
}
