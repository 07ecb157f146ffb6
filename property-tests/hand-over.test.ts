import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { lastValueFrom, toArray } from 'rxjs';
import * as tasks from '../test/fixtures/tasks.ts';
import { watchForLeaks, withTree } from '../test/support/tree.ts';
import { checkAsync } from './support.ts';

const size = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 8_000, max: 20_000 }), fc.integer({ min: 60_000, max: 300_000 }));

const operation = fc.oneof(
  fc.record({ kind: fc.constant('spin' as const), ms: fc.integer({ min: 0, max: 20 }), bytes: size }),
  fc.record({ kind: fc.constant('stream' as const), count: fc.integer({ min: 0, max: 600 }), bytes: fc.integer({ min: 0, max: 5_000 }) }),
  fc.record({ kind: fc.constant('echo' as const), bytes: size }),
);

// Two threads read one stream one after the other, and write one stream by turns. Whatever is asked of a child while it
// boots, hands over and works: nothing is lost, reordered or mixed up. Real processes, so few runs.
describe('the two threads of a child', () => {
  watchForLeaks();

  it(
    'share the way to the parent without loss, whatever comes while they hand over',
    async () => {
      await checkAsync(
        fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 25 }), async (operations) => {
          await withTree({}, async ({ master, records }) => {
            const kid = master.local();
            let lines = 0;
            const all = operations.map(async (wanted) => {
              switch (wanted.kind) {
                case 'spin': {
                  const line = `line ${String(lines++)}`;
                  const bytes = await lastValueFrom(kid.call(tasks.spinFor, wanted.ms, wanted.bytes, line));
                  // Its log came before its answer.
                  expect(records.filter(({ message }) => message === line)).toHaveLength(1);
                  expect(bytes.length).toBe(wanted.bytes);
                  expect(bytes.every((byte) => byte === wanted.bytes % 251)).toBe(true);
                  return;
                }
                case 'stream': {
                  const values = await lastValueFrom(kid.call(tasks.interleaved, wanted.count, wanted.bytes).pipe(toArray()));
                  expect(values).toHaveLength(wanted.count);
                  expect(values.every((value, index) => value.length === wanted.bytes && value.every((byte) => byte === index % 251))).toBe(true);
                  return;
                }
                default: {
                  const sent = new Uint8Array(wanted.bytes).fill(7);
                  expect(await lastValueFrom(kid.call(tasks.sumBytes, sent))).toBe(7 * wanted.bytes);
                }
              }
            });
            await Promise.all(all);
            await kid.shutdown();
            expect(records.filter(({ stream }) => stream === 'stdout').map(({ message }) => message)).toHaveLength(lines);
          });
        }),
        12,
      );
    },
    600_000,
  );
});
