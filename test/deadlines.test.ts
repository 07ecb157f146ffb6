import { describe, expect, it } from '@jest/globals';
import { lastValueFrom, of, take, timeout, toArray } from 'rxjs';
import { CallError, DeadlineError, stream } from 'tendril';
import * as nested from './fixtures/nested.ts';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild } from './support/tree.ts';

describe('deadlines and cancellation', () => {
  watchForLeaks();

  it(
    'a call that takes longer than its deadline fails with a DeadlineError and is cancelled there',
    withChild(async (kid) => {
      await first(kid.connected);
      await first(kid.call(tasks.nothing));
      const late = await failure(kid.with({ deadline: 500 }).call(tasks.untilCancelled));
      expect(late).toBeInstanceOf(DeadlineError);
      expect(late).toMatchObject({ code: 'ERR_TENDRIL_DEADLINE', message: expect.stringContaining('kid took longer than the 500 ms') as unknown });
      expect(await first(kid.call(tasks.cancellations))).toMatchObject({ cancelled: 1 });
      expect(await first(kid.with({ deadline: 20_000 }).call(tasks.add, 1, 2))).toBe(3);
      // Also while values come.
      expect(await failure(kid.with({ deadline: 200 }).call(tasks.ticks, 1, 1_000_000))).toBeInstanceOf(DeadlineError);
    }),
  );

  it(
    'a deadline counts from the subscription, also while the context connects',
    withChild(async (kid) => {
      expect(await failure(kid.with({ deadline: 1 }).call(tasks.add, 1, 2))).toBeInstanceOf(DeadlineError);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      for (const deadline of [0, -1, NaN, '5' as never]) expect(await failure(kid.with({ deadline }).call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
      for (const window of [{ values: 0 }, { values: 1.5 }, { bytes: NaN }, { values: 1e9 }]) expect(await failure(kid.with({ window }).call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
    }),
  );

  it(
    'calls that a function makes in turn have what is left of its deadline, unless they are to go on',
    withChild(async (kid) => {
      const left = (await first(kid.with({ deadline: 30_000 }).call(nested.remaining, 2))) as number[];
      expect(left).toHaveLength(3);
      for (const [index, ms] of left.entries()) expect(ms).toBeLessThanOrEqual(left[index - 1] ?? 30_000);
      expect(left.every((ms) => ms > 0)).toBe(true);
      const [own, ...others] = await first(kid.with({ deadline: 30_000 }).call(nested.remaining, 2, false));
      expect(own).toBeGreaterThan(0);
      expect(others).toEqual([undefined, undefined]);
      expect(await first(kid.call(nested.remaining, 1))).toEqual([undefined, undefined]);
    }),
  );

  it(
    'unsubscribing, timeout, an AbortSignal and a deadline cancel at every depth, and nothing stays in any context',
    withChild(async (kid) => {
      await first(kid.call(nested.remaining, 2));
      await first(kid.call(nested.seen, 2));
      const before = await first(kid.call(nested.seen, 2));
      const controller = new AbortController();
      const ends = [
        failure(kid.with({ deadline: 1000 }).call(nested.waitFor, 2)),
        failure(kid.call(nested.waitFor, 2).pipe(timeout(1000))),
        failure(kid.with({ signal: controller.signal }).call(nested.waitFor, 2)),
        failure(kid.with({ deadline: 1000 }).call(nested.waitFor, 2).deliveries()),
      ];
      for (let each = 0; each < 2; each++) expect(await first(kid.call(nested.endlessly, 2))).toBe(1);
      await ends[0];
      controller.abort(new Error('enough'));
      expect((await Promise.all(ends)).map(({ name }) => name)).toEqual(['DeadlineError', 'TimeoutError', 'Error', 'DeadlineError']);
      // On a slow machine a call may end before it has come to the last of them.
      let after = before;
      const told = (): boolean => after.every(({ begun, cancelled, unsubscribed }) => cancelled === begun && unsubscribed === 2);
      for (let turn = 0; turn < 1000 && (turn === 0 || !told()); turn++) after = await first(kid.call(nested.seen, 2));
      expect(after).toEqual(before.map((context, index) => ({ ...context, begun: after[index]?.begun, cancelled: after[index]?.begun, unsubscribed: 2 })));
      expect(after[0]?.begun).toBeGreaterThan(0);
    }),
  );

  it(
    'a call that is to go on does so when the one in which it was made is cancelled',
    withChild(async (kid) => {
      await first(kid.call(nested.remaining, 1));
      const waiting = failure(kid.with({ deadline: 1500 }).call(nested.waitFor, 1, false));
      expect(await waiting).toBeInstanceOf(DeadlineError);
      let after = await first(kid.call(nested.seen, 1));
      for (let turn = 0; turn < 1000 && after[0]?.cancelled === 0; turn++) after = await first(kid.call(nested.seen, 1));
      expect(after.map(({ cancelled }) => cancelled)).toEqual([1, 0]);
      expect(after[0]?.calls).toBe(1);
    }),
  );

  it(
    'a stream passes through a function to a context below',
    withChild(async (kid) => {
      const values = async function* (): AsyncGenerator<number> { for (let value = 0; value < 2000; value++) yield await Promise.resolve(value); };
      expect(await first(kid.call(nested.sumBelow, stream(values())))).toBe(1_999_000);
      const failing = async function* (): AsyncGenerator<number> { yield await Promise.resolve(1); throw new RangeError('no more'); };
      const error = await failure(kid.call(nested.sumBelow, stream(failing())));
      expect(error).toBeInstanceOf(CallError);
      expect(error).toMatchObject({ message: 'no more', remoteName: 'RangeError' });
      expect(await first(kid.call(nested.sumBelow, stream(of(1, 2))))).toBe(3);
    }),
  );

  it(
    'a generator that was paused is still in its call',
    withChild(async (kid) => {
      const callers = await lastValueFrom(kid.with({ window: { values: 2 } }).call(nested.callers, 1000).pipe(take(1000), toArray()));
      expect(new Set(callers)).toEqual(new Set([0]));
      expect(callers).toHaveLength(1000);
    }),
  );
});
