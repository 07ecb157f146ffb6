import { execFileSync } from 'node:child_process';
import { PerformanceObserver, constants } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { Master, UsageError } from 'tendril';
import { collectGarbage, noteGarbage } from '../src/core/broker/garbage.ts';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';

const MIB = 1024 * 1024;
const broker = new VirtualBroker();

/** Notes so much garbage after so many milliseconds. */
function garbage(bytes: number, afterMs: number): void {
  broker.advance(afterMs);
  noteGarbage(bytes);
  collectGarbage(broker);
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

/** V8's flags that a master sets in its process while 64 MiB come. */
function flagsOf(options: object, ...argv: string[]): string[] {
  const script = fileURLToPath(new URL('fixtures/growth.mjs', import.meta.url));
  return JSON.parse(execFileSync(process.execPath, [...argv, script, JSON.stringify(options)], { encoding: 'utf8' })) as string[];
}

describe('garbage of large messages', () => {
  it('is collected when there is much of it, and not more often than four times a second', async () => {
    expect(await asked(() => { garbage(7 * MIB, 1000); })).toBe(0);
    expect(await asked(() => { garbage(MIB, 0); })).toBe(1);
    expect(await asked(() => { garbage(100 * MIB, 200); })).toBe(0);
    expect(await asked(() => { garbage(0, 60); })).toBe(1);
    expect(await asked(() => { garbage(7 * MIB, 9000); })).toBe(0);
  });

  it('is given back', () => {
    const before = process.memoryUsage().arrayBuffers;
    for (let each = 0; each < 12; each++) Buffer.allocUnsafeSlow(MIB).fill(each);
    garbage(8 * MIB, 1000);
    // V8 frees the memory beside us; the next collection waits for that.
    garbage(8 * MIB, 1000);
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(before + 4 * MIB);
  });

  it('leaves the process without a collector of its own', () => {
    garbage(8 * MIB, 1000);
    // What this file runs in may have one: another file of this worker may have asked for it.
    expect(runInNewContext('typeof gc')).toBe('undefined');
  });

  it('lets a small heap grow, but not where V8 is to be left alone', () => {
    const growth = expect.stringMatching(/^--heap-growing-percent=([5-9]\d|[12]\d\d|300)$/) as unknown;
    const gc = ['--expose-gc', '--no-expose-gc'];
    const flags = flagsOf({});
    expect(flags).toContainEqual(growth);
    expect(flags).toEqual(expect.arrayContaining(gc));
    expect(flagsOf({ tuneGc: false })).toEqual(gc);
    expect(flagsOf({}, '--heap-growing-percent=80')).toEqual(gc);
    expect(() => new Master({ tuneGc: 'no' as unknown as boolean })).toThrow(UsageError);
  });
});
