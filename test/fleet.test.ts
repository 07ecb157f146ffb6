import os from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { filter, map, take, toArray } from 'rxjs';
import { Master, UsageError } from 'tendril';
import type { ConnectedContext, ContextInfo } from 'tendril';
import * as family from './fixtures/family.ts';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

async function pidOf(context: ConnectedContext): Promise<number> {
  return (await first(context.call(tasks.whereAmI))).pid;
}

/** The next state of this kind. */
function reaches(context: ConnectedContext, state: string): Promise<unknown> {
  return first(context.connection.pipe(filter((now) => now.state === state)));
}

function settled(master: Master, fits: (contexts: readonly ContextInfo[]) => boolean): Promise<readonly ContextInfo[]> {
  return first(master.router.contexts.pipe(filter(fits)));
}

describe('the contexts of a router', () => {
  watchForLeaks();

  it('are all that there are: its own, those by way of others, and those that children have made', () =>
    withTree({}, async ({ master }) => {
      const seen: (readonly ContextInfo[])[] = [];
      master.router.contexts.subscribe((contexts) => seen.push(contexts));
      expect(seen).toEqual([[]]);
      const bastion = master.local({ name: 'bastion' });
      const inner = master.local({ name: 'inner', via: bastion });
      expect(seen.at(-1)).toEqual([
        { id: bastion.id, name: 'bastion', via: 0, state: 'connecting', nodeVersion: '' },
        { id: inner.id, name: 'inner', via: bastion.id, state: 'connecting', nodeVersion: '' },
      ]);
      await first(inner.call(family.keep, 'their own'));
      const all = await settled(master, (contexts) => contexts.length === 3 && contexts.every(({ state }) => state === 'connected'));
      expect(all.map(({ name, via, nodeVersion }) => [name, via, nodeVersion])).toEqual([['bastion', 0, process.version], ['inner', bastion.id, process.version], ['their own', inner.id, process.version]]);
      await first(inner.call(family.drop, 'their own'));
      await settled(master, (contexts) => contexts.length === 2);
      await bastion.shutdown();
      expect(seen.at(-1)).toEqual([]);
      // Each change was told: a context appears, is connected, or is gone.
      const steps = seen.map((contexts) => contexts.map(({ name, state }) => `${name} ${state}`).join(', '));
      for (const [index, step] of steps.entries()) expect(step).not.toBe(steps[index - 1]);
      for (const name of ['bastion', 'inner', 'their own']) expect(seen.flatMap((contexts) => contexts.filter((one) => one.name === name).map(({ state }) => state)).filter((state, index, all) => state !== all[index - 1])).toEqual(['connecting', 'connected']);
    }));

  it('are told to each subscriber from the present on, and the end with the router', async () => {
    let ended = false;
    await withTree({}, async ({ master }) => {
      const kid = master.local();
      await first(kid.connected);
      master.router.contexts.subscribe({ complete: () => { ended = true; } });
      expect(await first(master.router.contexts.pipe(take(1), map((contexts) => contexts.length)))).toBe(1);
    });
    expect(ended).toBe(true);
  });

  it('do not hold one that fails', () =>
    withTree({}, async ({ master }) => {
      const bastion = master.local();
      const wrong = master.local({ via: bastion, nodePath: '/nonexistent/node' });
      await failure(wrong.connected);
      await first(wrong.closed);
      expect((await first(master.router.contexts)).map(({ id }) => id)).toEqual([bastion.id]);
    }));
});

describe('ping', () => {
  watchForLeaks();

  it('measures a round trip: before the first call, after it, while user code spins, and to far contexts', () =>
    withTree({}, async ({ master }) => {
      const one = master.local();
      const two = master.local({ via: one });
      expect(await first(one.ping())).toBeGreaterThan(0);
      await first(two.call(tasks.add, 1, 2));
      expect(await first(two.ping())).toBeGreaterThan(0);
      for (const context of [one, two]) context.call(tasks.spin).subscribe({ error: () => undefined });
      await first(two.ping());
      await first(two.ping());
      await first(one.ping());
      const { rtt } = two.stats();
      expect(rtt).toMatchObject({ count: 3 });
      expect(rtt!.min).toBeLessThanOrEqual(rtt!.mean);
      expect(rtt!.last).toBeGreaterThanOrEqual(rtt!.min);
    }));

  it('is cold, waits for the connection, and fails with what its context fails with', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local();
      const ping = kid.ping();
      expect(await first(ping.pipe(toArray()))).toHaveLength(1);
      expect(await first(ping.pipe(toArray()))).toHaveLength(1);
      expect(kid.stats().rtt).toMatchObject({ count: 2 });
      await kid.shutdown();
      expect(await failure(ping)).toMatchObject({ code: expect.stringMatching(/CHANNEL|SHUTDOWN/) as unknown });
      const wrong = master.local({ nodePath: '/nonexistent/node' });
      expect(await failure(wrong.ping())).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
    }));
});

describe('stats', () => {
  watchForLeaks();

  it(
    'say what a context is, does, and has cost',
    withChild(async (kid, { master }) => {
      expect(kid.stats()).toMatchObject({ state: 'connecting', connectedForMs: undefined, connections: 0, calls: 0, rtt: undefined, modules: undefined });
      await first(kid.call(tasks.add, 1, 2));
      const before = kid.stats();
      expect(before).toMatchObject({ state: 'connected', connections: 1, calls: 0, modules: { loads: expect.any(Number) as unknown } });
      expect(before.connectedForMs).toBeGreaterThan(0);
      const hanging = kid.call(tasks.hang).subscribe({ error: () => undefined });
      const other = kid.module<typeof tasks>(new URL('./fixtures/tasks.ts', import.meta.url)).hang().subscribe({ error: () => undefined });
      expect(kid.stats().calls).toBe(2);
      hanging.unsubscribe();
      other.unsubscribe();
      await first(kid.call(tasks.bytes, 100_000));
      const { calls, sent, received } = kid.stats();
      expect(calls).toBe(0);
      expect(sent!.messages).toBeGreaterThan(before.sent!.messages);
      expect(received!.bytes - before.received!.bytes).toBeGreaterThan(100_000);
      expect(master.router.stats()).toMatchObject([{ id: kid.id, forwarded: 0, refused: 0 }]);
      await kid.shutdown();
      expect(kid.stats()).toMatchObject({ state: 'closed', connectedForMs: undefined, calls: 0 });
    }),
  );
});

describe('keepalive', () => {
  watchForLeaks();

  it('notices a child that is stopped, and ends it', () =>
    withTree({ keepalive: { intervalMs: 300, countMax: 4 }, graceMs: 100 }, async ({ master }) => {
      const kid = master.local();
      const spinning = master.local();
      await first(spinning.call(tasks.add, 1, 2));
      spinning.call(tasks.spin).subscribe({ error: () => undefined });
      const pid = await pidOf(kid);
      const pending = failure(kid.call(tasks.hang));
      process.kill(pid, 'SIGSTOP');
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_SILENT' }, exit: { signal: 'SIGKILL' } });
      // User code that spins is another matter: the other thread answers.
      expect(await first(spinning.ping())).toBeGreaterThan(0);
      await spinning.shutdown();
    }));

  it('is inherited by the connections of children, and may be set for each', () =>
    withTree({ keepalive: false, graceMs: 100 }, async ({ master }) => {
      const bastion = master.local({ name: 'bastion', keepalive: { intervalMs: 300, countMax: 4 } });
      const inner = master.local({ via: bastion });
      process.kill(await pidOf(inner), 'SIGSTOP');
      expect(await first(inner.closed)).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_SILENT', message: expect.stringContaining('via bastion: ') as unknown } });
      await first(bastion.ping());
    }));

  it('and the other options of fleets refuse what cannot work', () =>
    withTree({}, ({ master }) => {
      expect(() => master.local({ keepalive: { intervalMs: 0, countMax: 1 } })).toThrow(UsageError);
      expect(() => master.local({ reconnect: { factor: 0 } })).toThrow(UsageError);
      for (const options of [{ maxHandshakes: 0 }, { maxHandshakes: 1.5 }, { keepalive: { intervalMs: 1000, countMax: 0 } }]) expect(() => new Master(options)).toThrow(UsageError);
      expect(master.contexts).toEqual([]);
      return Promise.resolve();
    }));
});

describe('reconnect', () => {
  watchForLeaks();
  const reconnect = { initialDelayMs: 20, maxDelayMs: 100 };

  it('brings back a process that was killed: calls that come meanwhile wait, the others fail (REFERENCE 240)', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local({ name: 'kid', reconnect });
      const before = await pidOf(kid);
      const { id } = kid;
      const pending = failure(kid.call(tasks.hang));
      const mailbox = failure(kid.handle(5001));
      process.kill(before, 'SIGKILL');
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await mailbox).toMatchObject({ reason: 'respondent-gone' });
      expect(await pidOf(kid)).not.toBe(before);
      expect(kid.id).not.toBe(id);
      expect(master.contexts).toEqual([kid]);
      // A mailbox of the new connection works, on the same number, and so do other functions.
      await first(kid.call(tasks.doubleOn, 5001));
      const again = kid.handle<number>(5001);
      const doubled = first(again);
      again.next(21);
      expect(await doubled).toBe(42);
      expect(await first(kid.call(os.hostname))).toBe(os.hostname());
      again.complete();
      expect(kid.stats()).toMatchObject({ connections: 2, state: 'connected' });
      await kid.shutdown();
      expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown' });
    }));

  it('brings back a chain behind the one that was lost, each when the one on the way is back (REFERENCE 240)', () =>
    withTree({}, async ({ master }) => {
      const bastion = master.local({ name: 'bastion', reconnect });
      const inner = master.local({ name: 'inner', via: bastion, reconnect });
      const innermost = master.local({ name: 'innermost', via: inner, reconnect });
      const once = master.local({ name: 'once', via: bastion });
      await Promise.all([first(innermost.call(tasks.add, 1, 2)), first(once.connected)]);
      process.kill(await pidOf(bastion), 'SIGKILL');
      await reaches(innermost, 'waiting');
      expect(await first(innermost.call(tasks.add, 2, 3))).toBe(5);
      expect(await first(once.closed)).toMatchObject({ reason: 'lost' });
      const all = await settled(master, (contexts) => contexts.length === 3 && contexts.every(({ state }) => state === 'connected'));
      expect(all.map(({ name, via }) => [name, via])).toEqual([['bastion', 0], ['inner', bastion.id], ['innermost', inner.id]]);
      expect(await first(inner.ping())).toBeGreaterThan(0);
      await bastion.shutdown();
      expect(await first(innermost.closed)).toMatchObject({ reason: 'shutdown' });
    }));

  it('of a context is over when the one on the way is over for good', () =>
    withTree({}, async ({ master }) => {
      const bastion = master.local({ name: 'bastion' });
      const inner = master.local({ via: bastion, reconnect });
      await first(inner.connected);
      process.kill(await pidOf(bastion), 'SIGKILL');
      expect(await first(inner.closed)).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_VIA_LOST' } });
      expect(await failure(inner.call(tasks.add, 1, 2))).toMatchObject({ code: expect.stringMatching(/CHANNEL|VIA_LOST/) as unknown });
    }));

  it(
    'works for contexts that code in a child has made',
    withChild(async (kid) => {
      expect(await first(kid.call(family.comesBack))).toEqual({ sum: 3, connections: 2, pings: 1 });
    }),
  );
});
