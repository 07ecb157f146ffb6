import { describe, expect, it } from '@jest/globals';
import { ChannelError, TendrilError } from '../src/core/errors.ts';
import type { ConnectionState } from '../src/parent/connected-context.ts';
import { Admission } from '../src/parent/connection/admission.ts';
import { ConnectError } from '../src/parent/connection/connect-error.ts';
import type { Closed } from '../src/parent/connection/connection.ts';
import { reconnectFunction } from '../src/parent/connection/reconnect.ts';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { ADD_ROUTE, CALL_FUNCTION, PING } from '../src/core/wire/handles.ts';
import { encodeValue } from '../src/core/wire/values.ts';
import { ContextDirectory } from '../src/parent/routing/context-directory.ts';
import type { ContextInfo } from '../src/parent/routing/context-directory.ts';
import { VirtualFleet, refused } from './support/virtual-fleet.ts';

const SECOND = 1000;
const LOST: Closed = { reason: 'lost' };

function states(fleet: VirtualFleet, options = {}): { context: ReturnType<VirtualFleet['make']>; seen: ConnectionState[] } {
  const context = fleet.make(options);
  const seen: ConnectionState[] = [];
  context.connection.subscribe((state) => seen.push(state));
  return { context, seen };
}

describe('keepalive', () => {
  const keepalive = { intervalMs: SECOND, countMax: 3 };

  it('ends a connection that drops everything silently, with a typed error, and the child ends itself', () => {
    const fleet = new VirtualFleet({ keepalive });
    const context = fleet.make();
    let closed: Closed | undefined;
    context.closed.subscribe((end) => { closed = end; });
    fleet.broker.advance(60 * SECOND);
    expect(closed).toBeUndefined();
    const [child] = fleet.children;
    child!.drop();
    const from = fleet.broker.now();
    fleet.broker.advance(3 * SECOND);
    expect(closed).toBeUndefined();
    fleet.broker.advance(3 * SECOND);
    expect(closed).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_SILENT' } });
    expect(closed?.error).toBeInstanceOf(TendrilError);
    expect(child).toMatchObject({ alive: false });
    expect(fleet.broker.now() - from).toBeLessThanOrEqual(6 * SECOND);
    expect(fleet.faults).toEqual([]);
  });

  it('has the child end itself also when nothing of its parent is left to end it', () => {
    const fleet = new VirtualFleet({ keepalive });
    fleet.make();
    fleet.broker.advance(10 * SECOND);
    const [child] = fleet.children;
    child!.drop();
    // Before the parent notices; it can only tell over the connection that is dropped.
    fleet.broker.advance(5.5 * SECOND);
    expect(child).toMatchObject({ orphaned: true, alive: false });
  });

  it('asks only where there was no traffic in both directions', () => {
    const fleet = new VirtualFleet({ keepalive });
    const context = fleet.make();
    fleet.broker.advance(SECOND / 2);
    let pings = 0;
    const send = fleet.router.send.bind(fleet.router);
    fleet.router.send = (message) => {
      if (message.handle === PING) pings++;
      send(message);
    };
    fleet.broker.advance(10 * SECOND);
    expect(pings).toBe(10);
    // Calls are answered: there is nothing that a question would add.
    for (let second = 0; second < 40; second++) {
      fleet.router.send({ dstId: context.id, srcId: 0, handle: CALL_FUNCTION, replyTo: 300_000_000, data: Buffer.alloc(100) });
      fleet.children[0]!.router!.send({ dstId: 0, srcId: context.id, handle: 5000, replyTo: 0, data: Buffer.alloc(100) });
      fleet.broker.advance(SECOND / 4);
    }
    expect(pings).toBeLessThanOrEqual(11);
  });

  it('has more patience while bytes wait to be sent, and not for ever', () => {
    const fleet = new VirtualFleet({ keepalive });
    const context = fleet.make();
    fleet.broker.advance(SECOND);
    const [child] = fleet.children;
    child!.drop();
    // Ten seconds of a slow link.
    Object.defineProperty(child!.links.left, 'pendingBytes', { value: 640_000 });
    fleet.broker.advance(10 * SECOND);
    expect(context.stats().state).toBe('connected');
    fleet.broker.advance(7 * SECOND);
    expect(context.stats().state).toBe('closed');
  });

  it('lives with a way that is almost as long as its patience', () => {
    const fleet = new VirtualFleet({ keepalive });
    const context = fleet.make();
    fleet.broker.advance(10 * SECOND);
    fleet.children[0]!.links.latencyMs = 1.4 * SECOND;
    fleet.broker.advance(60 * SECOND);
    expect(context.stats().state).toBe('connected');
    expect(fleet.children[0]!.alive).toBe(true);
  });

  it('is off where it is false', () => {
    const fleet = new VirtualFleet({ keepalive: false });
    const context = fleet.make();
    fleet.broker.advance(SECOND);
    fleet.children[0]!.drop();
    fleet.broker.advance(1000 * SECOND);
    expect(context.stats().state).toBe('connected');
    expect(fleet.children[0]!.alive).toBe(true);
    expect(fleet.broker.pending).toBe(0);
  });
});

describe('the directory', () => {
  it('takes from a child what it may say, and no more', () => {
    const fleet = new VirtualFleet();
    const kid = fleet.make({ name: 'kid' });
    const other = fleet.make({ name: 'other' });
    fleet.broker.run();
    const seen: (readonly ContextInfo[])[] = [];
    fleet.router.contexts.subscribe((contexts) => seen.push(contexts));
    const announce = (...announcement: readonly unknown[]): void => {
      fleet.children[0]!.router!.send({ dstId: 0, srcId: kid.id, handle: ADD_ROUTE, replyTo: 0, data: encodeValue(announcement).data });
      fleet.broker.run();
    };
    for (const id of [500, 501, 502]) fleet.routing.ids.expect(kid.id, id);
    announce(500, 'grandchild');
    announce(501, 'deeper', 500);
    // It cannot put a context behind another child, nor one that was not granted, nor take a state back.
    announce(502, 'beside', other.id, 'v24.1.0');
    announce(503, 'not granted');
    announce(501, 'deeper', 500, 'v22.0.0');
    announce(501, 'renamed', 500, 'v23.0.0');
    announce(501, 'deeper', 500);
    announce(500, 'grandchild', 'no number');
    announce(500, 'grandchild', kid.id, 'no version');
    expect(seen.at(-1)!.map(({ id, name, via, state, nodeVersion }) => [id, name, via, state, nodeVersion])).toEqual([
      [kid.id, 'kid', 0, 'connected', 'v24.0.0'],
      [other.id, 'other', 0, 'connected', 'v24.0.0'],
      [500, 'grandchild', kid.id, 'connecting', ''],
      [501, 'deeper', 500, 'connected', 'v22.0.0'],
      [502, 'beside', kid.id, 'connected', 'v24.1.0'],
    ]);
    fleet.children[0]!.links.lose();
    fleet.broker.run();
    expect(seen.at(-1)!.map(({ name }) => name)).toEqual(['other']);
    expect(seen).toHaveLength(1 + 3 + 2 + 4);
  });

  it('tells every change in its order, also those that a subscriber causes', () => {
    const directory = new ContextDirectory(() => undefined);
    const counts: number[][] = [[], []];
    const joinLate = (): void => {
      directory.changes.subscribe((late) => counts[1]!.push(late.length));
    };
    directory.changes.subscribe((contexts) => {
      counts[0]!.push(contexts.length);
      if (contexts.length === 1) {
        directory.add(2, 'caused', 0);
        joinLate();
        directory.add(3, 'caused too', 0);
      }
    });
    directory.add(1, 'first', 0);
    expect(counts).toEqual([[0, 1, 2, 3], [2, 3]]);
  });
});

describe('the number of handshakes', () => {
  it('is never over its limit, with 1,000 contexts that connect at once, and all of them get connected in their order', () => {
    const fleet = new VirtualFleet({ maxHandshakes: 10, bootMs: 500 });
    const connected: number[] = [];
    const contexts = Array.from({ length: 1000 }, () => fleet.make({ bootTimeoutMs: 2 * SECOND }));
    for (const context of contexts) context.connected.subscribe({ next: ({ id }) => connected.push(id) });
    fleet.broker.run();
    expect(fleet.mostBooting).toBe(10);
    expect(connected).toHaveLength(1000);
    expect(new Set(connected)).toEqual(new Set(contexts.map(({ id }) => id)));
    // It took many times as long as one may take: the time of each began when it was its turn.
    expect(fleet.broker.now()).toBeGreaterThan(10 * 2 * SECOND);
    expect(fleet.admission.counts).toEqual({ inside: 0, waiting: 0 });
    const begun = fleet.children.map(({ begunAt }) => begunAt);
    expect(begun).toEqual([...begun].sort((a, b) => a - b));
  });

  it('counts those that fail, and those that are cancelled while they wait, as gone', () => {
    const fleet = new VirtualFleet({ maxHandshakes: 2 });
    fleet.refuse = (attempt) => (attempt % 3 === 0 ? refused() : undefined);
    const contexts = Array.from({ length: 30 }, () => fleet.make());
    const ends: string[] = [];
    for (const context of contexts) context.connected.subscribe({ next: () => ends.push('connected'), error: ({ code }: ConnectError) => ends.push(code) });
    for (const context of contexts.slice(20, 25)) void context.shutdown();
    fleet.broker.run();
    const count = (what: string): number => ends.filter((end) => end === what).length;
    expect([count('connected'), count('ERR_TENDRIL_CANCELLED'), count('ERR_TENDRIL_REFUSED')]).toEqual([17, 5, 8]);
    expect(fleet.admission.counts).toEqual({ inside: 0, waiting: 0 });
  });

  it('lets in who comes while another leaves, in order', () => {
    const admission = new Admission(1);
    const seen: string[] = [];
    const leaveFirst = admission.enter(() => seen.push('first'));
    const leaveSecond = admission.enter(() => seen.push('second'));
    admission.enter(() => seen.push('third'));
    leaveSecond();
    leaveSecond();
    expect(seen).toEqual(['first']);
    leaveFirst();
    leaveFirst();
    expect(seen).toEqual(['first', 'third']);
    expect(admission.counts).toEqual({ inside: 1, waiting: 0 });
  });
});

describe('reconnect', () => {
  it('brings a context back under a new ID, with back-off, and tells its states', () => {
    const fleet = new VirtualFleet();
    const { context, seen } = states(fleet, { reconnect: { initialDelayMs: 1000, jitter: 0 } });
    fleet.broker.advance(60 * SECOND);
    const { id } = context;
    fleet.refuse = (attempt) => (attempt < 5 ? refused() : undefined);
    fleet.children[0]!.links.lose();
    fleet.broker.advance(60 * SECOND);
    expect(seen).toMatchObject([
      { state: 'connecting', attempt: 0 },
      { state: 'connected' },
      { state: 'waiting', attempt: 1, delayMs: 1000, closed: { reason: 'lost' } },
      { state: 'connecting', attempt: 1 },
      { state: 'waiting', attempt: 2, delayMs: 2000, closed: { reason: 'failed', error: { code: 'ERR_TENDRIL_REFUSED' } } },
      { state: 'connecting', attempt: 2 },
      { state: 'waiting', attempt: 3, delayMs: 4000 },
      { state: 'connecting', attempt: 3 },
      { state: 'waiting', attempt: 4, delayMs: 8000 },
      { state: 'connecting', attempt: 4 },
      { state: 'connected', attempt: 4 },
    ]);
    expect(context.id).not.toBe(id);
    expect(fleet.factory.contexts).toEqual([context]);
    expect(fleet.factory.get(context.id)).toBe(context);
    expect(fleet.factory.get(id)).toBeUndefined();
    expect(context.stats()).toMatchObject({ state: 'connected', connections: 2 });
    expect(fleet.faults).toEqual([]);
  });

  it('fails what was under way, keeps what was not sent, and sends it in its order', () => {
    const fleet = new VirtualFleet();
    const { context } = states(fleet, { reconnect: { initialDelayMs: 1000, jitter: 0 } });
    fleet.broker.advance(SECOND);
    const ends: string[] = [];
    const call = (name: string): void => {
      context.call(Math.max, 1).subscribe({ error: (error: unknown) => ends.push(`${name}: ${error instanceof ChannelError ? error.reason : String(error)}`) });
    };
    // A real child would answer; this one says that nobody is there.
    const heard: number[] = [];
    fleet.children[0]!.router!.addHandler(CALL_FUNCTION, { deliver: ({ replyTo }) => { if (replyTo !== IS_DEAD) heard.push(replyTo); } });
    call('under way');
    fleet.broker.advance(SECOND);
    fleet.refuse = (attempt) => (attempt < 4 ? refused() : undefined);
    fleet.children[0]!.links.lose();
    fleet.broker.advance(SECOND / 2);
    expect(ends).toEqual(['under way: respondent-gone']);
    call('later');
    call('last');
    expect(context.stats().calls).toBe(2);
    fleet.broker.advance(60 * SECOND);
    expect(heard).toHaveLength(1);
    expect(ends).toEqual(['under way: respondent-gone', 'later: invalid-handle', 'last: invalid-handle']);
    expect(context.stats().calls).toBe(0);
  });

  it('gives up when it is told to: by its number of attempts, by its function, and at errors that stay', () => {
    const fleet = new VirtualFleet();
    fleet.refuse = refused;
    const few = states(fleet, { reconnect: { maxAttempts: 2 } });
    const asked: number[] = [];
    const own = states(fleet, { reconnect: (attempt: number) => { asked.push(attempt); return attempt < 3 ? 10 : undefined; } });
    const broken = states(fleet, { reconnect: () => { throw new Error('in the function'); } });
    const errors: string[] = [];
    for (const { context } of [few, own]) {
      context.connected.subscribe({ error: ({ code }: ConnectError) => errors.push(code) });
      context.call(Math.max, 1).subscribe({ error: ({ code }: ConnectError) => errors.push(code) });
    }
    fleet.broker.run();
    expect(fleet.attempts).toBe(3 + 3 + 1);
    expect(asked).toEqual([1, 2, 3]);
    expect(errors).toEqual(['ERR_TENDRIL_REFUSED', 'ERR_TENDRIL_REFUSED', 'ERR_TENDRIL_REFUSED', 'ERR_TENDRIL_REFUSED']);
    for (const { seen } of [few, own, broken]) expect(seen.at(-1)).toMatchObject({ state: 'closed', closed: { reason: 'failed' } });
    expect(fleet.faults).toEqual([expect.stringContaining('the function reconnect of')]);
    fleet.refuse = () => new ConnectError('AUTH_FAILED', 'no', { phase: 'authentication' });
    const before = fleet.attempts;
    const locked = states(fleet, { reconnect: true });
    fleet.broker.run();
    expect(fleet.attempts).toBe(before + 1);
    expect(locked.seen.at(-1)).toMatchObject({ state: 'closed' });
    expect(fleet.factory.contexts).toEqual([]);
    expect(fleet.routing.ids.counts).toMatchObject({ used: 0 });
  });

  it('ends at a shutdown, while it waits and while it connects', () => {
    const fleet = new VirtualFleet();
    fleet.refuse = refused;
    const waiting = states(fleet, { reconnect: { initialDelayMs: 10 * SECOND, jitter: 0 } });
    const call: string[] = [];
    waiting.context.call(Math.max, 1).subscribe({ error: ({ code }: ConnectError) => call.push(code) });
    fleet.broker.advance(SECOND);
    expect(waiting.seen.at(-1)).toMatchObject({ state: 'waiting' });
    void waiting.context.shutdown();
    expect(waiting.seen.at(-1)).toMatchObject({ state: 'closed', closed: { reason: 'shutdown' } });
    expect(call).toEqual(['ERR_TENDRIL_REFUSED']);
    fleet.refuse = () => undefined;
    const connecting = states(fleet, { reconnect: true });
    void connecting.context.shutdown();
    fleet.broker.run();
    expect(connecting.seen.at(-1)).toMatchObject({ state: 'closed', closed: { reason: 'failed' } });
    expect(fleet.factory.contexts).toEqual([]);
    expect(fleet.broker.pending).toBe(0);
  });

  it('has delays that grow to their bound, and are drawn from all that is below', () => {
    const longest = reconnectFunction({ initialDelayMs: 100, maxDelayMs: 1000, jitter: 0 })!;
    expect([1, 2, 3, 4, 5, 50].map((attempt) => longest(attempt, LOST))).toEqual([100, 200, 400, 800, 1000, 1000]);
    const drawn = [0, 0.25, 0.999].map((random) => reconnectFunction(true, () => random)!(3, LOST));
    expect(drawn).toEqual([2000, 1500, expect.closeTo(2, 5)]);
    // A hundred that are lost together do not come together.
    const delays = Array.from({ length: 100 }, () => reconnectFunction({ initialDelayMs: 1000 })!(1, LOST)!);
    expect(Math.max(...delays) - Math.min(...delays)).toBeGreaterThan(500);
    expect(reconnectFunction(false)).toBeUndefined();
    for (const bad of [{ factor: 0.5 }, { jitter: 2 }, { initialDelayMs: -1 }, { maxDelayMs: 1 }, { maxAttempts: 0 }]) expect(() => reconnectFunction(bad)).toThrow(/reconnect must be/);
  });

  it('does not count anew where connections break at once', () => {
    const fleet = new VirtualFleet();
    const { seen } = states(fleet, { reconnect: { initialDelayMs: 1000, jitter: 0, maxAttempts: 3 } });
    for (let round = 0; round < 10; round++) {
      fleet.broker.advance(10 * SECOND);
      fleet.children.at(-1)!.links.lose();
    }
    fleet.broker.run();
    expect(seen.at(-1)).toMatchObject({ state: 'closed', closed: { reason: 'lost' } });
    expect(fleet.children).toHaveLength(4);
  });
});
