import { describe, expect, it } from '@jest/globals';
import type { EdgeEnvelope } from 'tendril';
import * as family from './fixtures/family.ts';
import * as siblings from './fixtures/siblings.ts';
import { first, watchForLeaks, withTree } from './support/tree.ts';

describe('messages between two children of a master', () => {
  watchForLeaks();

  it('are refused in unidirectional mode, which the sender is told and the log as well (REFERENCE 25, S8)', () =>
    withTree({ unidirectional: true }, async ({ master, logged }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      await first(b.call(siblings.open));
      const text = `routing mode prevents forward of message from context ${String(a.id)} to context ${String(b.id)} via context 0`;
      expect(await first(a.call(siblings.knock, b))).toEqual({ reason: 'refused-by-routing', message: text });
      expect(await logged(({ message }) => message === text)).toMatchObject({ level: 'warn', context: 'self' });
      expect(new Map(master.router.stats().map(({ id, refused }) => [id, refused]))).toEqual(new Map([[a.id, 1], [b.id, 0]]));
    }));

  it('are refused in that mode by intermediates too, which inherit it (REFERENCE 26)', () =>
    withTree({ unidirectional: true }, async ({ master, logged }) => {
      const hub = master.local({ name: 'hub' });
      const inner = master.local({ name: 'inner', via: hub });
      for (const via of [hub, inner]) {
        const [a, b] = [master.local({ via }), master.local({ via })];
        await first(b.call(siblings.open));
        const text = `routing mode prevents forward of message from context ${String(a.id)} to context ${String(b.id)} via context ${String(via.id)}`;
        expect(await first(a.call(siblings.knock, b))).toEqual({ reason: 'refused-by-routing', message: text });
        expect(await logged(({ message }) => message === text)).toMatchObject({ level: 'warn', context: via.name });
      }
    }));

  it('are for a policy of the master to decide, which sees their headers', () => {
    const seen: EdgeEnvelope[] = [];
    return withTree({ unidirectional: true, edgePolicy: (message) => { seen.push(message); return seen.length > 1; } }, async ({ master }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      expect(await first(a.call(siblings.knock, b))).toMatchObject({ reason: 'refused-by-routing' });
      // Nobody listens there; so it has passed, and the answer as well.
      expect(await first(a.call(siblings.knock, b))).toMatchObject({ reason: 'invalid-handle' });
      expect(seen.map(({ srcId, dstId, handle }) => [srcId, dstId, handle === 5000])).toEqual([[a.id, b.id, true], [a.id, b.id, true], [b.id, a.id, false]]);
    });
  });

  it('pass by default', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      expect(await first(a.call(siblings.knock, b))).toMatchObject({ reason: 'invalid-handle' });
    }));
});

describe('the quotas of a master', () => {
  watchForLeaks();

  it('hold in the contexts below it, whoever has made their children', () =>
    withTree({ quotas: { ids: 6 } }, async ({ master, logged }) => {
      const quota = (id: number, has: number): string => `context ${String(id)}, with those behind it, has ${String(has)} of the 6 context IDs of its quota`;
      const outer = master.local({ name: 'outer' });
      // Of the master's making: asks `outer` for 4, which it gets, then for 8.
      const inner = master.local({ name: 'inner', via: outer });
      expect(await first(inner.call(family.most))).toMatchObject({ made: 4, code: 'ERR_TENDRIL_NO_IDS', message: expect.stringContaining(quota(inner.id, 4)) as unknown });
      // Of its own making: gets 3 of the 4 that `other` has.
      const other = master.local({ name: 'other' });
      const [id, most] = await first(other.call(family.mostBelow));
      expect(most).toMatchObject({ made: 3, code: 'ERR_TENDRIL_NO_IDS', message: expect.stringContaining(quota(id, 3)) as unknown });
      expect(await logged(({ context, message }) => context === 'other' && message.includes(quota(id, 3)))).toMatchObject({ level: 'warn' });
    }));
});

describe('log records of a child', () => {
  watchForLeaks();

  it('beyond its quota are dropped, which is told once', () =>
    withTree({ quotas: { logs: { burst: 10, perSecond: 1 } } }, async ({ master, records, logged }) => {
      const [loud, quiet] = [master.local({ name: 'loud' }), master.local({ name: 'quiet' })];
      await first(loud.call(siblings.shout, 500));
      await first(quiet.call(siblings.shout, 1));
      await logged(({ contextId }) => contextId === quiet.id);
      expect(records.filter(({ contextId }) => contextId === loud.id).length).toBeGreaterThanOrEqual(10);
      expect(records.filter(({ contextId }) => contextId === loud.id).length).toBeLessThan(100);
      expect(records.filter(({ message }) => message.includes('sends more log records'))).toHaveLength(1);
      expect(master.router.stats().find(({ id }) => id === loud.id)?.dropped['over-quota']).toBeGreaterThan(400);
    }));
});
