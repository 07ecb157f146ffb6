import { describe, expect, it } from '@jest/globals';
import { forkJoin } from 'rxjs';
import type { Subscription } from 'rxjs';
import * as fixtures from './fixtures/services.ts';
import { Slow } from './fixtures/services.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

/** A service of a master, called by itself. */
function withSlow(test: (client: ReturnType<typeof clientOf>, slow: Slow, handles: () => number) => Promise<void>): () => Promise<void> {
  return () =>
    withTree({}, async ({ master }) => {
      const slow = new Slow();
      master.serve(slow);
      await test(clientOf(master), slow, () => master.router.handleCount);
    });
}

function clientOf(master: { readonly self: import('tendril').Context }): import('tendril').ServiceClient<typeof Slow> {
  return master.self.service(Slow);
}

/** Lets promises that are settled be seen. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

const quiet = { error: () => undefined };

describe('the concurrency of a service', () => {
  watchForLeaks();

  it('is limited: others wait in their order, up to a limit, and one more is refused', withSlow(async (client, slow) => {
    const order: string[] = [];
    const calls = ['a', 'b', 'c', 'd', 'e'].map((name) => client.work().subscribe({ next: () => order.push(name) }));
    expect(slow).toMatchObject({ running: 2, begun: 2 });
    expect(await failure(client.work())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_BUSY' });
    expect(await first(client.single())).toBe(1);
    for (let turn = 0; turn < 6; turn++) {
      slow.release();
      await settle();
      await settle();
    }
    expect(order).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(slow).toMatchObject({ running: 0, begun: 5, most: 2 });
    for (const call of calls) call.unsubscribe();
  }));

  it('is not taken by calls that left while they waited', withSlow(async (client, slow) => {
    const running = [client.work().subscribe(), client.work().subscribe()];
    const waiting: Subscription[] = [client.work().subscribe(), client.work().subscribe(), client.work().subscribe()];
    waiting[1]?.unsubscribe();
    const last = first(client.work());
    for (const call of [...running, waiting[0], waiting[2]]) call?.unsubscribe();
    await settle();
    await settle();
    slow.release();
    expect(await last).toBe(3);
    expect(slow).toMatchObject({ begun: 3, aborted: 2 });
  }));

  it('counts a stream until it ends', withSlow(async (client) => {
    const stream = client.stream().subscribe();
    expect(await failure(client.stream())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_BUSY' });
    stream.unsubscribe();
    await settle();
    await settle();
    client.stream().subscribe(quiet).unsubscribe();
  }));

  it('counts what goes on behind a call that was cancelled', withSlow(async (client, slow) => {
    client.deaf().subscribe().unsubscribe();
    expect(await failure(client.deaf())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_BUSY' });
    slow.release();
    await settle();
    await settle();
    const again = first(client.deaf());
    await settle();
    slow.release();
    expect(await again).toBe(2);
  }));
});

describe('calls with the same key', () => {
  watchForLeaks();

  it('are one computation, and a new one when that has ended', withSlow(async (client, slow) => {
    const all = first(forkJoin([client.compute('a'), client.compute('a'), client.compute('b'), client.compute('a')]));
    await settle();
    slow.release();
    expect(await all).toEqual(['a 2', 'a 2', 'b 2', 'a 2']);
    const again = first(client.compute('a'));
    await settle();
    slow.release();
    expect(await again).toBe('a 3');
  }));

  it('go on when one of them leaves, and are cancelled when all have left', withSlow(async (client, slow) => {
    const one = client.compute('a').subscribe();
    const other = first(client.compute('a'));
    one.unsubscribe();
    await settle();
    expect(slow.aborted).toBe(0);
    slow.release();
    expect(await other).toBe('a 1');
    const both = [client.compute('a').subscribe(quiet), client.compute('a').subscribe(quiet)];
    for (const call of both) call.unsubscribe();
    await settle();
    expect(slow).toMatchObject({ aborted: 1, begun: 2 });
    // What comes then does not get what was given up.
    const after = first(client.compute('a'));
    await settle();
    slow.release();
    expect(await after).toBe('a 3');
  }));

  it('share results that are kept, and failures only where that is asked for', withSlow(async (client) => {
    expect(await first(client.keep('a'))).toBe('a 1');
    expect(await first(client.keep('a'))).toBe('a 1');
    expect((await failure(client.keep('bad'))).message).toBe('bad 2');
    expect((await failure(client.keep('bad'))).message).toBe('bad 3');
    expect((await failure(client.keepAll('bad'))).message).toBe('bad 4');
    expect((await failure(client.keepAll('bad'))).message).toBe('bad 4');
  }));

  it('cannot share a stream', withSlow(async (client) => {
    expect(await failure(client.shareStream())).toMatchObject({ code: 'ERR_TENDRIL_BAD_SERVICE' });
  }));

  it('keep no more than a thousand results', withSlow(async (client, slow) => {
    for (let index = 0; index < 1100; index++) await first(client.keep(String(index)));
    expect(slow.begun).toBe(1100);
    expect(await first(client.keep('1099'))).toBe('1099 1100');
    expect(await first(client.keep('0'))).toBe('0 1101');
  }));

  it('leave nothing behind', withSlow(async (client, _slow, handles) => {
    const before = handles();
    for (let index = 0; index < 200; index++) client.compute(String(index)).subscribe(quiet).unsubscribe();
    for (let index = 0; index < 200; index++) client.work().subscribe(quiet).unsubscribe();
    await settle();
    expect(handles()).toBe(before);
  }));
});

describe('a child that floods', () => {
  watchForLeaks();

  it('has a thousand calls of the master under way and no more; others are served', withChild(async (kid, { master }) => {
    const other = master.local({ name: 'other' });
    const slow = new Slow();
    master.serve(slow);
    const before = master.router.handleCount;
    // Two run, three wait, the rest is refused.
    expect(await first(kid.call(fixtures.flood, master.self, 5000))).toEqual({ ERR_TENDRIL_SERVICE_BUSY: 4995 });
    expect(slow.running).toBe(2);
    expect(await first(other.call(fixtures.callNamed, master.self, 'nothing', 'work'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_NOT_ACTIVE' });
    await kid.shutdown();
    await settle();
    for (let turn = 0; turn < 500 && slow.running > 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(slow).toMatchObject({ running: 0, begun: 2, aborted: 2 });
    // The handles of the pool and of the profiles stay, those of the calls do not.
    expect(master.router.handleCount).toBeLessThanOrEqual(before);
  }));

  it('cannot have more bytes of arguments wait than its share', withChild(async (kid, { master }) => {
    const slow = new Slow();
    master.serve(slow, { name: 'slow' });
    const bytes = 40 * 1024 * 1024;
    expect(await first(kid.call(fixtures.floodBytes, master.self, bytes))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_BUSY' });
    await kid.shutdown();
    for (let turn = 0; turn < 500 && slow.running > 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
  }));
});
