import { PerformanceObserver, constants } from 'node:perf_hooks';
import { describe, expect, it } from '@jest/globals';
import { noteGarbage } from '../src/core/broker/garbage.ts';

const MIB = 1024 * 1024;

/** Garbage that nobody but V8 knows of. */
function litter(): void {
  for (let each = 0; each < 12; each++) Buffer.allocUnsafeSlow(MIB).fill(each);
}

/** How many collections of the young generation somebody asked for during `work`. */
async function asked(work: () => void): Promise<number> {
  let count = 0;
  const take = (entries: readonly unknown[]): void => {
    for (const { detail } of entries as { detail: { kind: number; flags: number } }[]) {
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MINOR && (detail.flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0) count++;
    }
  };
  const observer = new PerformanceObserver((list) => {
    take(list.getEntries());
  });
  observer.observe({ entryTypes: ['gc'] });
  work();
  // Node notes them in turns of their own.
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  take(observer.takeRecords());
  observer.disconnect();
  return count;
}

describe('garbage of large messages', () => {
  it('is collected when there is much of it, and not more often than four times a second', async () => {
    expect(await asked(() => { noteGarbage(7 * MIB, 1000); })).toBe(0);
    expect(await asked(() => { noteGarbage(MIB, 1000); })).toBe(1);
    expect(await asked(() => { noteGarbage(100 * MIB, 1200); })).toBe(0);
    expect(await asked(() => { noteGarbage(0, 1260); })).toBe(1);
    expect(await asked(() => { noteGarbage(7 * MIB, 9000); })).toBe(0);
  });

  it('is given back', () => {
    const before = process.memoryUsage().arrayBuffers;
    litter();
    noteGarbage(8 * MIB, 20_000);
    // V8 frees the memory beside us; the next collection waits for that.
    noteGarbage(8 * MIB, 30_000);
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(before + 4 * MIB);
  });

  it('leaves the process without a collector of its own', () => {
    noteGarbage(8 * MIB, 40_000);
    expect((globalThis as { gc?: unknown }).gc).toBeUndefined();
  });
});
