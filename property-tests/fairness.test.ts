import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { CallTracker } from '../src/core/call/current-call.ts';
import { Dispatcher } from '../src/core/call/dispatch.ts';
import { invoke } from '../src/core/call/invoke.ts';
import { WINDOW_BYTES } from '../src/core/call/protocol.ts';
import { anyContext } from '../src/core/mailbox/policy.ts';
import { BulkQueue, SMALL } from '../src/core/routing/bulk-queue.ts';
import { GIVEN_BYTES } from '../src/core/routing/pacer.ts';
import { CONTINUES, HEADER_LENGTH, IS_DEAD, MAX_FRAME, MAX_PAYLOAD, payloadLength } from '../src/core/wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION, LOAD_MODULE } from '../src/core/wire/handles.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import { check, checkAsync } from './support.ts';

const size = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 4, max: 200 }) },
  { weight: 2, arbitrary: fc.integer({ min: SMALL - 2, max: SMALL + 2 }) },
  { weight: 2, arbitrary: fc.integer({ min: MAX_PAYLOAD - 8, max: MAX_PAYLOAD + 8 }) },
  { weight: 2, arbitrary: fc.integer({ min: 2 * MAX_PAYLOAD - 8, max: 6 * MAX_FRAME }) },
);
const HANDLES = [5000, 5001, 5002];

/** Bytes that tell which message of a conversation they are, and whether they are all there. */
function payload(number: number, length: number): Buffer {
  const bytes = Buffer.alloc(length, number % 251);
  bytes.writeUInt32BE(number, 0);
  return bytes;
}

/** The number of a message whose bytes are as they were made. */
function numberOf(data: Uint8Array): number {
  const bytes = Buffer.from(data);
  const number = bytes.readUInt32BE(0);
  expect(bytes.equals(payload(number, bytes.length))).toBe(true);
  return number;
}

interface Sent {
  readonly from: number;
  readonly to: number;
  readonly handle: number;
  readonly size: number;
  readonly pauseMs: number;
}

const sent: fc.Arbitrary<Sent> = fc.record({ from: fc.nat(4), to: fc.nat(4), handle: fc.constantFrom(...HANDLES), size, pauseMs: fc.oneof(fc.constant(0), fc.nat(3)) });
const links = fc.record({ bytesPerMs: fc.constantFrom(20_000, 100_000, Infinity), chunkBytes: fc.constantFrom(30_000, 65_536, 200_000), volatile: fc.boolean(), takeMs: fc.nat(2), latencyMs: fc.nat(5) });

/** A tree of five: 0 above 1 and 2, 1 above 3 and 4. All listen to all. */
class Conversations {
  readonly tree: VirtualTree;
  readonly got = new Map<string, number[]>();
  readonly said = new Map<string, number[]>();

  constructor(options: Omit<ConstructorParameters<typeof VirtualTree>[0], 'shape'>) {
    this.tree = new VirtualTree({ shape: [0, 0, 1, 1], ...options });
    for (const { id, router } of this.tree.nodes) {
      for (const handle of HANDLES) {
        router.addHandler(handle, {
          policy: anyContext,
          deliver: ({ srcId, data, replyTo }) => {
            if (replyTo !== IS_DEAD) list(this.got, `${String(srcId)} ${String(id)} ${String(handle)}`).push(numberOf(data));
          },
        });
      }
    }
  }

  send({ from, to, handle, size: length }: Sent): void {
    const numbers = list(this.said, `${String(from)} ${String(to)} ${String(handle)}`);
    numbers.push(numbers.length);
    this.tree.node(from).router.send({ dstId: to, srcId: from, handle, replyTo: 0, data: payload(numbers.length - 1, length) });
  }
}

function list(lists: Map<string, number[]>, key: string): number[] {
  const found = lists.get(key) ?? [];
  lists.set(key, found);
  return found;
}

describe('fragments on links that are shared', () => {
  it('come together where they belong: each conversation gets all messages, once and in order', () => {
    check(
      fc.property(fc.array(sent, { minLength: 1, maxLength: 40 }), links, fc.nat(), (messages, options, seed) => {
        const world = new Conversations({ ...options, seed });
        for (const each of messages) {
          world.send(each);
          if (each.pauseMs > 0) world.tree.broker.advance(each.pauseMs);
        }
        world.tree.broker.run();
        expect(world.got).toEqual(world.said);
        for (const { streams } of world.tree.nodes) for (const { pendingBytes, unfinishedBytes } of streams.values()) expect([pendingBytes, unfinishedBytes]).toEqual([0, 0]);
        expect(world.tree.faults).toEqual([]);
      }),
      60,
    );
  });

  it('give no part of a message when a link is lost: each conversation has the first messages, and nothing is kept', () => {
    check(
      fc.property(fc.array(sent, { minLength: 1, maxLength: 30 }), links, fc.nat(), fc.integer({ min: 1, max: 4 }), fc.nat(20), (messages, options, seed, lost, afterMs) => {
        const world = new Conversations({ ...options, seed });
        world.tree.broker.after(afterMs, () => { world.tree.node(lost).uplink?.lose(); });
        for (const each of messages) {
          world.send(each);
          if (each.pauseMs > 0) world.tree.broker.advance(each.pauseMs);
        }
        world.tree.broker.run();
        for (const [key, numbers] of world.got) expect(numbers).toEqual(world.said.get(key)?.slice(0, numbers.length));
        for (const { streams } of world.tree.nodes) for (const { unfinishedBytes } of streams.values()) expect(unfinishedBytes).toBe(0);
      }),
      60,
    );
  });

  it('arrive before the news that their source has ended', () => {
    check(
      fc.property(fc.array(fc.record({ handle: fc.constantFrom(...HANDLES), size }), { minLength: 1, maxLength: 12 }), links, fc.nat(), (messages, options, seed) => {
        const world = new Conversations({ ...options, seed });
        let heard = -1;
        const { router } = world.tree.node(0);
        const total = (): number => [...world.got.values()].reduce((sum, { length }) => sum + length, 0);
        router.addHandler(6000, { respondent: 3, deliver: () => { heard = total(); } });
        // What heard of it hears of its end.
        router.send({ dstId: 3, srcId: 0, handle: 5000, replyTo: 0, data: payload(0, 4) });
        world.tree.broker.run();
        world.got.clear();
        for (const each of messages) world.send({ from: 3, to: 0, pauseMs: 0, ...each });
        // It closes its side when everything is written.
        world.tree.node(3).streams.get(1)?.end();
        world.tree.broker.run();
        expect(heard).toBe(messages.length);
        expect(world.got).toEqual(world.said);
      }),
      40,
    );
  });
});

describe('a link', () => {
  const SLOW = 50_000;
  const FAST = { bytesPerMs: 50_000, chunkBytes: 65_536, latencyMs: 0 };

  it('has no more than a certain number of bytes of bulk in front of a small message, at each hop', () => {
    check(
      fc.property(fc.array(fc.record({ from: fc.constantFrom(3, 4), handle: fc.constantFrom(...HANDLES), size: fc.integer({ min: MAX_PAYLOAD, max: 1024 * 1024 - 8 }) }), { minLength: 1, maxLength: 12 }), fc.nat(60), fc.nat(), (bulk, afterMs, seed) => {
        const world = new Conversations({ ...FAST, seed });
        for (const each of bulk) world.send({ to: 0, pauseMs: 0, ...each });
        world.tree.broker.advance(afterMs);
        const begun = world.tree.broker.now();
        let took = Infinity;
        world.tree.node(0).router.addHandler(7000, { policy: anyContext, deliver: () => { took = world.tree.broker.now() - begun; } });
        world.tree.node(3).send(0, 7000, 'small');
        world.tree.broker.run();
        // Two links, on each of which the bulk that was given before goes first.
        expect(took).toBeLessThanOrEqual((2 * (GIVEN_BYTES + MAX_FRAME)) / FAST.bytesPerMs + 2);
      }),
      60,
    );
  });

  it('is shared evenly: what flows that wait have sent differs by a few frames, whatever the size of their messages', () => {
    check(
      fc.property(fc.array(fc.tuple(fc.integer({ min: SMALL + 1, max: 400_000 }), fc.integer({ min: 10, max: 200 })), { minLength: 2, maxLength: 6 }), (flows) => {
        const queue = new BulkQueue();
        const left = flows.map(([length, count]) => length * count);
        const given = flows.map(() => 0);
        for (const [index, [length, count]] of flows.entries()) for (let each = 0; each < count; each++) queue.add({ srcId: 1, dstId: 0, handle: index, replyTo: 0, data: Buffer.alloc(length) });
        for (let piece = queue.next(); piece !== undefined; piece = queue.next()) {
          expect(payloadLength(piece)).toBeLessThanOrEqual(MAX_PAYLOAD);
          given[piece.handle] = (given[piece.handle] ?? 0) + HEADER_LENGTH + payloadLength(piece);
          left[piece.handle] = (left[piece.handle] ?? 0) - payloadLength(piece);
          const waiting = given.filter((_, index) => (left[index] ?? 0) > MAX_FRAME);
          if (waiting.length > 1) expect(Math.max(...waiting) - Math.min(...waiting)).toBeLessThanOrEqual(3 * MAX_FRAME);
        }
        expect([queue.empty, queue.bytes]).toEqual([true, 0]);
      }),
      60,
    );
  });

  it('keeps calls behind what they need and behind each other, and a cancel behind its call', () => {
    const handle = fc.constantFrom(LOAD_MODULE, CALL_FUNCTION, CALL_CONTROL);
    check(
      fc.property(fc.array(fc.record({ handle, dstId: fc.integer({ min: 1, max: 3 }), size: fc.constantFrom(8, 100, 5000, 200_000) }), { minLength: 1, maxLength: 30 }), (messages) => {
        const queue = new BulkQueue();
        const order: number[] = [];
        const take = (count: number): void => {
          for (let each = 0; each < count; each++) {
            const piece = queue.next();
            if (piece !== undefined && ((piece.part ?? 0) & CONTINUES) === 0) order.push(piece.replyTo);
          }
        };
        for (const [index, { handle: number, dstId, size: length }] of messages.entries()) {
          // As a cancel begins.
          const data = Buffer.alloc(length, 0x82);
          if (!queue.add({ srcId: 0, dstId, handle: number, replyTo: index, data })) order.push(index);
          if (index % 3 === 2) take(2);
        }
        take(10_000);
        const place = new Map(order.map((index, at) => [index, at]));
        expect(place.size).toBe(messages.length);
        for (const [later, message] of messages.entries()) {
          for (const [earlier, other] of messages.slice(0, later).entries()) {
            const ordered = message.handle !== LOAD_MODULE && (other.handle === LOAD_MODULE || other.dstId === message.dstId);
            if (ordered || (message.handle === LOAD_MODULE && other.handle === LOAD_MODULE)) expect((place.get(earlier) ?? 0) < (place.get(later) ?? 0)).toBe(true);
          }
        }
      }),
      80,
    );
  });

  it('that is slow makes a hop queue what credit allows, and no more', async () => {
    await checkAsync(
      fc.asyncProperty(fc.integer({ min: 100_000, max: 900_000 }), fc.integer({ min: 1, max: 3 }), fc.nat(), async (length, streams, seed) => {
        const tree = new VirtualTree({ shape: [0, 1], seed, latencyMs: 0, chunkBytes: 65_536, bytesPerMs: [SLOW, 10 * SLOW] });
        const [caller, hop, callee] = [tree.node(0), tree.node(1), tree.node(2)];
        const values = Math.ceil((3 * WINDOW_BYTES) / length);
        new Dispatcher(callee.scope, () => async function* () { for (let each = 0; each < values; each++) yield await Promise.resolve(Buffer.alloc(length)); }, new CallTracker());
        const target = { contextId: 2, name: 'callee', ready: true, calls: 0, chains: new Map(), whenReady: () => undefined, prepare: () => undefined };
        let got = 0;
        let most = 0;
        for (let each = 0; each < streams; each++) invoke<Buffer>(caller.scope, { target, ref: () => ({ module: 'm', className: null, name: 'f' }), args: [], chain: null }).subscribe({ next: () => { got++; } });
        for (let idle = 0; idle < 3000 && got < streams * values; idle++) {
          tree.broker.advance(1);
          most = Math.max(most, hop.streams.get(0)?.pendingBytes ?? 0);
          await new Promise((resolve) => { setImmediate(resolve); });
        }
        expect(got).toBe(streams * values);
        // It did come to that, and no more.
        expect(most).toBeGreaterThan((streams * WINDOW_BYTES) / 2);
        expect(most).toBeLessThanOrEqual(streams * (WINDOW_BYTES + length + MAX_FRAME));
      }),
      10,
    );
  });
});
