import os from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { filter, share, tap } from 'rxjs';
import type { ContextInfo } from 'tendril';
import * as family from './fixtures/family.ts';
import * as tasks from './fixtures/tasks.ts';
import { nodesToTry } from './support/installed.ts';
import { ended, failure, first, startedProcesses, watchForLeaks, withChild, withTree } from './support/tree.ts';

describe('code that runs in a child', () => {
  watchForLeaks();

  it(
    'knows its own context, as code in the master does (REFERENCE 15)',
    withChild(async (kid, { master }) => {
      expect([master.self.id, master.self.name, master.router.id]).toEqual([0, 'self', 0]);
      expect(await first(kid.call(tasks.who))).toEqual({ self: kid.id, parent: 0, caller: 0 });
    }),
  );

  it(
    'makes contexts of its own on its router, and calls functions in them',
    withChild(async (kid, { master }) => {
      const found = await first(kid.call(family.family));
      expect(found).toMatchObject({ self: kid.id, sums: [3, 7, 11], host: os.hostname(), streamed: [0, 1, 2, 3, 4], names: ['child', expect.stringMatching(/^child\.local\.\d+\.\d+$/)] });
      expect(new Set([found.self, found.child, found.grandchild]).size).toBe(3);
      expect(master.router.table.via([...master.router.streams][0]!)).toEqual([kid.id]);
      // Again, with what has been loaded.
      expect(await first(kid.call(family.family))).toMatchObject({ sums: [3, 7, 11] });
    }),
  );

  it(
    'does so in a grandchild as well, and the routes lead to each from the master',
    withChild(async (kid, { master }) => {
      const inner = master.local({ via: kid });
      expect(await first(inner.call(family.family))).toMatchObject({ self: inner.id, sums: [3, 7, 11] });
      const added: number[] = [];
      master.router.events.subscribe((event) => {
        if (event.type === 'route-added') added.push(event.id);
      });
      const ids = await first(inner.call(family.many, 3));
      expect(added.sort()).toEqual([...ids].sort());
    }),
  );

  it(
    'gets parts of the library that no context on the way has used yet',
    withChild(async (kid, { master }) => {
      const inner = master.local({ via: kid });
      const innermost = master.local({ via: inner });
      // Code in the one on the way has the same, later.
      for (const context of [innermost, kid, inner]) expect(await first(context.call(family.unreachable))).toBe('ERR_TENDRIL_REFUSED');
    }),
  );

  it(
    'ends with its children: in order, and when it is killed',
    withChild(async (kid, { master }) => {
      const other = master.local();
      expect(await first(kid.call(family.keep, 'one'))).toBe((await first(kid.call(tasks.whereAmI))).pid);
      await first(other.call(family.keep, 'two'));
      expect(await first(kid.call(family.keep, 'three'))).toBeGreaterThan(0);
      expect(await first(kid.call(family.drop, 'three'))).toBe('shutdown');
      await kid.shutdown();
      const left = startedProcesses().map((line) => Number(line.split(' ')[0]));
      process.kill((await first(other.call(tasks.whereAmI))).pid, 'SIGKILL');
      expect(await first(other.closed)).toMatchObject({ reason: 'lost' });
      for (const pid of left) await ended(pid);
    }),
  );

  it.each(['is shut down', 'loses its parent'])(
    'ends without waiting for its children that are not up yet when it %s',
    (how) =>
      withTree({ graceMs: 60_000, maxHandshakes: 1 }, async ({ master }) => {
        const top = master.local();
        const kid = master.local({ via: top });
        const [topPid, pid] = await Promise.all([top, kid].map(async (context) => (await first(context.call(tasks.whereAmI))).pid));
        // Reads the core and never answers; the second waits for its turn.
        const starting = [1, 2].map(() => master.local({ via: kid, nodePath: ['sh', '-c', 'echo it waits; cat <&3 >/dev/null'], bootTimeoutMs: 120_000 }));
        const errors = Promise.all(starting.map(({ connected }) => failure(connected)));
        await first(master.logs.pipe(filter(({ message }) => message === 'it waits')));
        if (how === 'is shut down') await kid.shutdown();
        else process.kill(topPid!, 'SIGKILL');
        await ended(pid!);
        for (const error of await errors) expect(error).toMatchObject({ code: how === 'is shut down' ? 'ERR_TENDRIL_CANCELLED' : 'ERR_TENDRIL_VIA_LOST' });
      }),
    30_000,
  );

  it(
    'sees which contexts are behind it, whoever has made them',
    withChild(async (kid, { master }) => {
      expect(await first(kid.call(family.watched))).toEqual({ atOnce: 2, seen: [undefined, `watched of ${String(kid.id)} connecting `, `watched of ${String(kid.id)} connected ${process.version}`, undefined] });
      const sets: (readonly ContextInfo[])[] = [];
      const sighted = kid.call(family.behind).pipe(tap((set) => sets.push(set)), share());
      const ended = failure(sighted);
      await first(sighted);
      const inner = master.local({ via: kid, name: 'inner' });
      await first(inner.call(family.keep, 'innermost'));
      await first(kid.call(family.keep, 'own'));
      // What the master sees, without the context itself.
      const known = await first(master.router.contexts.pipe(filter((set) => set.length === 4 && set.every(({ state }) => state === 'connected'))));
      const expected = known.filter(({ id }) => id !== kid.id);
      expect(expected.map(({ name }) => name).sort()).toEqual(['inner', 'innermost', 'own']);
      expect(await first(kid.call(family.behind).pipe(filter((set) => set.length === 3 && set.every(({ state }) => state === 'connected'))))).toEqual(expected);
      await inner.shutdown();
      expect((await first(kid.call(family.behind).pipe(filter((set) => set.length === 1)))).map(({ name }) => name)).toEqual(['own']);
      // Each change, in order.
      expect(sets.map((set) => set.map(({ name, state }) => `${name} ${state}`)).slice(0, 4)).toEqual([[], ['inner connecting'], ['inner connected'], ['inner connected', 'innermost connecting']]);
      await kid.shutdown();
      expect(await ended).toMatchObject({ reason: 'respondent-gone' });
    }),
  );

  it(
    'gets typed errors: for functions that cannot be called, and connections that fail',
    withChild(async (kid) => {
      expect(await failure(kid.call(family.callHidden))).toMatchObject({ message: expect.stringContaining('the function hidden cannot be called in another context') as unknown });
      expect(await first(kid.call(family.failing))).toBe('ERR_TENDRIL_NODE_MISSING');
      expect(await first(kid.call(family.family))).toMatchObject({ sums: [3, 7, 11] });
    }),
  );

  it(
    'may make contexts that run other versions of Node, which run modules in another way',
    withChild(async (kid) => {
      const nodes = nodesToTry();
      const chosen = ['node-24', 'node-20', 'node-26'].flatMap((name) => nodes.filter((node) => node.name === name));
      const paths = chosen.length > 0 ? chosen : nodes;
      expect(await first(kid.call(family.foreign, paths.map(({ path }) => path)))).toEqual(paths.map(({ version }) => [version, 3]));
    }),
  );

  it(
    'may make many at once',
    withChild(async (kid) => {
      const ids = await first(kid.call(family.many, 20));
      expect(new Set(ids).size).toBe(20);
    }),
  );

  it(
    'may hang with its children: they end all the same',
    withChild(async (kid, { master }) => {
      kid.call(family.hangTogether).subscribe({ error: () => undefined });
      await new Promise<void>((resolve) => {
        master.router.events.subscribe((event) => {
          if (event.type === 'route-added') resolve();
        });
      });
      await kid.shutdown();
      expect(startedProcesses()).toEqual([]);
    }),
  );
});
