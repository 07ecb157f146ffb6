import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { RouterEvent } from '../src/core/routing/router.ts';
import type { ConnectedContext } from '../src/parent/connected-context.ts';
import { DEFAULT_QUARANTINE_MS } from '../src/parent/routing/child-routing.ts';
import { check } from './support.ts';
import { BOOT_MS, GRACE_MS, World } from './via-world.ts';

const IDS = 100;
const at = fc.nat(600);
const temper = fc.record({
  bootMs: fc.nat(80),
  isStuck: fc.constantFrom(false, false, false, false, false, false, false, true),
  failsAtOnce: fc.constantFrom(false, false, false, false, false, false, false, true),
  isDeaf: fc.constantFrom(false, false, false, false, false, true),
});
const plans = fc.array(fc.record({ via: fc.nat(8), atMs: at, temper }), { minLength: 1, maxLength: 9 });
const events = fc.array(fc.record({ atMs: at, which: fc.nat(8), does: fc.constantFrom('lose' as const, 'kill' as const, 'shutdown' as const) }), { maxLength: 5 });
const sends = fc.array(fc.record({ atMs: at, which: fc.nat(8) }), { maxLength: 40 });

/** What one context was seen to do. */
interface Watched {
  readonly context: ConnectedContext;
  readonly via: Watched | undefined;
  readonly key: string;
  readonly heard: string[];
  sent: number;
  /** How many numbers had been sent when it, or one on the way to it, was told to shut down. */
  sentAtShutdown: number | undefined;
  /** Something on the way was lost, killed, or is not what it should be. */
  isHarmed: boolean;
}

function lineage(one: Watched): readonly Watched[] {
  return one.via ? [one, ...lineage(one.via)] : [one];
}

describe('contexts by way of others, over links that drop and delay', () => {
  it('settle once, leave nothing, and lose nothing that was sent on a way that lived', () => {
    check(
      fc.property(fc.nat(), plans, events, sends, fc.integer({ min: 300, max: 900 }), (seed, made, what, numbers, endMs) => {
        const world = new World(seed);
        const { broker, router, factory, routing } = world;
        const handles = router.handleCount;
        const watched: Watched[] = [];
        for (const [index, { via, atMs, temper: how }] of [...made].sort((one, other) => one.atMs - other.atMs).entries()) {
          broker.after(Math.min(atMs, endMs - 1), () => {
            // Of those that exist, or none: then it is a child of the root.
            const parent = watched[via];
            const key = `c${String(index)}`;
            const context = world.make(key, how, parent?.context);
            const one: Watched = { context, via: parent, key, heard: [], sent: 0, sentAtShutdown: undefined, isHarmed: how.isStuck || how.failsAtOnce || how.isDeaf };
            context.connected.subscribe({ next: () => one.heard.push('connected'), error: () => one.heard.push('failed') });
            context.closed.subscribe({ next: ({ reason }) => one.heard.push(`closed: ${reason}`) });
            watched.push(one);
          });
        }
        const told = (one: Watched): void => {
          for (const each of watched) if (lineage(each).includes(one)) each.sentAtShutdown ??= each.sent;
        };
        for (const { atMs, which, does } of what) {
          broker.after(atMs, () => {
            const one = watched[which];
            if (one === undefined) return;
            const process = world.processes.get(one.key);
            if (does === 'shutdown') {
              told(one);
              void one.context.shutdown();
            } else if (process) {
              one.isHarmed = true;
              if (does === 'lose') process.links.lose();
              else process.die('SIGKILL');
            }
          });
        }
        for (const { atMs, which } of numbers) {
          broker.after(atMs, () => {
            const one = watched[which];
            if (one && router.table.get(one.context.id) !== undefined) world.send(one.context, one.sent++);
          });
        }
        broker.advance(endMs);
        // What lives has ways to nothing that does not.
        broker.advance(5 * (BOOT_MS + GRACE_MS));
        const alive = new Set([...world.processes.values()].flatMap((process) => (process.isAlive && process.router ? [process.router.id] : [])));
        const ways = [router, ...[...world.processes.values()].flatMap((process) => (process.isAlive && process.router ? [process.router] : []))].flatMap((one) => [...one.streams].flatMap((stream) => one.table.via(stream)));
        expect(ways.filter((id) => !alive.has(id))).toEqual([]);
        for (const one of watched) told(one);
        void Promise.all(factory.contexts.map((context) => context.shutdown()));
        broker.run();
        for (const one of watched) {
          const { heard, context, key } = one;
          expect([key, heard.length, heard.filter((each) => each.startsWith('closed')).length]).toEqual([key, 2, 1]);
          // In order, from the first on, without a gap; all of them where nothing has happened on the way.
          const process = world.processes.get(key);
          const arrived = process?.numbers ?? [];
          expect([key, arrived]).toEqual([key, Array.from({ length: arrived.length }, (_unused, number) => number)]);
          const echoes = world.echoes.get(context.id) ?? [];
          expect([key, echoes]).toEqual([key, Array.from({ length: echoes.length }, (_unused, number) => number)]);
          const isWell = heard[0] === 'connected' && lineage(one).every((each) => !each.isHarmed);
          if (isWell) expect([key, arrived.length >= (one.sentAtShutdown ?? 0), heard[1]]).toEqual([key, true, 'closed: shutdown']);
        }
        expect(factory.contexts).toEqual([]);
        expect([router.handleCount, router.streams.size, routing.routes.size, broker.pending]).toEqual([handles, 0, 0, 0]);
        expect(Array.from({ length: IDS }, (_unused, id) => router.table.get(id + 1)).filter(Boolean)).toEqual([]);
        expect([world.faults, world.warnings]).toEqual([[], []]);
        for (const process of world.processes.values()) if (process.isAlive) expect(process.temper).toMatchObject({ isDeaf: true });
        broker.advance(DEFAULT_QUARANTINE_MS);
        expect(routing.ids.counts).toEqual({ free: IDS, resting: 0, used: 0, holders: 0 });
      }),
      300,
    );
  });

  it.each([
    ['on the way', 'outer', 'ERR_TENDRIL_VIA_LOST'],
    ['that is to connect', 'inner', 'ERR_TENDRIL_BAD_OPTION'],
  ] as const)('fail with the error of a hop %s that refuses, at once', (_which, hop, code) => {
    const world = new World(1);
    const { broker, router } = world;
    const refused: RouterEvent[] = [];
    router.events.subscribe((event) => event.type === 'message-refused' && refused.push(event));
    const well = { bootMs: 1, isStuck: false, failsAtOnce: false, isDeaf: false };
    const outer = world.make('outer', well, undefined);
    const inner = world.make('inner', well, outer);
    broker.advance(BOOT_MS);
    const { table } = world.processes.get(hop)!.router!;
    if (hop === 'outer') table.delete(inner.id);
    else table.add(inner.id + 1, table.parent!);
    const last = world.make('last', well, inner);
    const seen: unknown[] = [];
    last.connected.subscribe({ error: (error: unknown) => seen.push(error) });
    last.closed.subscribe(({ reason }) => seen.push(reason));
    broker.advance(BOOT_MS);
    expect(seen).toMatchObject([{ code, message: expect.stringContaining('via inner: ') as unknown }, 'failed']);
    expect([refused, world.faults, world.warnings]).toEqual([[], [], []]);
    void outer.shutdown();
    broker.run();
  });
});
