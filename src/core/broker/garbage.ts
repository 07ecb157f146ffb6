import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Broker } from './broker.ts';

/** Bytes of memory outside of V8's heap that may be garbage before it is looked for. */
const LIMIT: number = 8 * 1024 * 1024;
/** Milliseconds between two looks: a fast stream is V8's own business. */
const PAUSE_MS = 250;
/** Bytes by which a heap may grow between two full collections, in any case: twice what V8 lets pile up outside of it. */
const SLACK: number = 64 * 1024 * 1024;
/** V8's own bound: a heap may become four times as large as what it keeps. */
const MAX_GROWTH_PERCENT = 300;
/** Percent below which V8 decides by itself: the heap is large enough. */
const MIN_GROWTH_PERCENT = 50;

type Collect = (options: { readonly type: 'minor' }) => void;

let made = 0;
let last = -Infinity;
let growth = 0;
let collect: Collect | undefined;
let tune = !process.execArgv.some((flag) => flag.startsWith('--heap-growing-percent'));

/** Leaves V8's settings alone in this process. */
export function leaveGrowth(): void {
  tune = false;
}

/** The way to V8's collector for a process that was started without it; no flag stays set. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('globalThis.gc') as Collect | undefined;
  setFlagsFromString('--no-expose-gc');
  return gc ?? (() => undefined);
}

/**
 * Notes that so many bytes outside of V8's heap will be garbage soon: what was read of a stream of Node's, a message that was
 * joined. See {@link collectGarbage}.
 */
export function noteGarbage(bytes: number): void {
  made += bytes;
}

/**
 * Helps V8 where it does badly with memory outside of its heap (docs/decisions.md, D-105).
 *
 * It lets 32 MiB of such memory pile up before it collects its young generation: who reads a large value now and then would
 * see that as growth. And once it has marked a small heap, it marks it again after as little as 9 MiB, so that a stream of
 * bytes makes it mark all the time, on all processors.
 */
export function collectGarbage(broker: Broker): void {
  if (made < LIMIT) return;
  const now = broker.now();
  if (now - last < PAUSE_MS) return;
  made = 0;
  last = now;
  if (tune) {
    const percent = Math.min(MAX_GROWTH_PERCENT, Math.round((100 * SLACK) / getHeapStatistics().used_heap_size));
    const wanted = percent < MIN_GROWTH_PERCENT ? 0 : percent;
    if (wanted !== growth) setFlagsFromString(`--heap-growing-percent=${String(wanted)}`);
    growth = wanted;
  }
  (collect ??= collector())({ type: 'minor' });
}
