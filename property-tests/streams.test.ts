import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { NEVER, Observable } from 'rxjs';
import type { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import { CallTracker } from '../src/core/call/current-call.ts';
import { Dispatcher } from '../src/core/call/dispatch.ts';
import { invoke } from '../src/core/call/invoke.ts';
import type { CallSpec } from '../src/core/call/invoke.ts';
import { CONTROL_CANCEL, CONTROL_CREDIT, REPLY_COMPLETE, REPLY_NEXT, REPLY_RESULT } from '../src/core/call/protocol.ts';
import { RemoteStream } from '../src/core/call/remote-stream.ts';
import type { Delivery } from '../src/core/call/remote-stream.ts';
import { seededRandom } from '../src/core/broker/seeded.ts';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import type { Message } from '../src/core/wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION } from '../src/core/wire/handles.ts';
import { decodeValue, encodeValue } from '../src/core/wire/values.ts';
import { stream } from '../src/flow/stream.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import type { VirtualNode } from '../test/support/virtual-tree.ts';
import { check, checkAsync } from './support.ts';

const REF = { module: 'm', className: null, name: 'f' };

function specOf(contextId: number, args: readonly unknown[], more: Partial<CallSpec> = {}): CallSpec {
  return { target: { contextId, name: 'other', ready: true, calls: 0, chains: new Map(), whenReady: () => undefined, prepare: () => undefined }, ref: () => REF, args, chain: null, ...more };
}

/** Lets virtual time pass, and what promises wait for, until nothing changes any more. */
async function settle(broker: VirtualBroker, changes: () => number): Promise<void> {
  for (let idle = 0, before = -1; idle < 8; idle++) {
    broker.advance(40);
    await new Promise((resolve) => { setImmediate(resolve); });
    if (changes() !== before) idle = 0;
    before = changes();
  }
}

/** A source that gives numbered values of some size, each after a while, and notes what becomes of it. */
class TimedSource implements AsyncIterableIterator<readonly [number, Uint8Array]> {
  pulled = 0;
  ended = false;
  readonly sizes: number[] = [];
  readonly #broker: VirtualBroker;
  readonly #random: () => number;
  readonly #count: number;
  readonly #fails: boolean;

  constructor(broker: VirtualBroker, seed: number, count: number, fails: boolean) {
    this.#broker = broker;
    this.#random = seededRandom(seed);
    this.#count = count;
    this.#fails = fails;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<readonly [number, Uint8Array], undefined>> {
    const index = this.pulled++;
    const bytes = Math.floor(this.#random() ** 4 * 3000);
    this.sizes.push(bytes);
    return new Promise((resolve, reject) => {
      this.#broker.after(Math.floor(this.#random() * 3), () => {
        if (index < this.#count) resolve({ done: false, value: [index, new Uint8Array(bytes)] });
        else {
          this.ended = true;
          if (this.#fails) reject(new Error('the source fails'));
          else resolve({ done: true, value: undefined });
        }
      });
    });
  }

  return(): Promise<IteratorResult<readonly [number, Uint8Array], undefined>> {
    this.ended = true;
    return Promise.resolve({ done: true, value: undefined });
  }
}

/** What a consumer has got. */
interface Got {
  readonly values: number[];
  /** How many it is done with. */
  done: number;
  end: unknown;
}

/** `holding` keeps all of a window but one, until more comes or the end. */
type Mode = 'subscribe' | 'deliveries' | 'holding' | 'for await';

/** Consumes in one of the ways, being done with values in any order and after any time. The result leaves. */
function consume(values: Observable<readonly [number, Uint8Array]>, mode: Mode, broker: VirtualBroker, random: () => number, got: Got, window: number): () => void {
  if (!(values instanceof RemoteStream)) throw new Error('not a remote stream');
  const remote = values as RemoteStream<readonly [number, Uint8Array]>;
  const take = ([index]: readonly [number, Uint8Array]): void => {
    got.values.push(index);
  };
  const ends = { error: (error: unknown) => { got.end = error; }, complete: () => { got.end = 'complete'; } };
  if (mode === 'subscribe') {
    const subscription = remote.subscribe({ next: (value) => { take(value); got.done++; }, ...ends });
    return () => {
      got.end ??= 'left';
      subscription.unsubscribe();
    };
  }
  if (mode === 'deliveries') {
    const subscription = remote.deliveries().subscribe({
      next: ({ value, done }: Delivery<readonly [number, Uint8Array]>) => {
        take(value);
        broker.after(Math.floor(random() * 30), () => {
          got.done++;
          done();
          done();
        });
      },
      ...ends,
    });
    return () => {
      got.end ??= 'left';
      subscription.unsubscribe();
    };
  }
  if (mode === 'holding') {
    const held: Delivery<readonly [number, Uint8Array]>[] = [];
    const release = (keep: number): void => {
      while (held.length > keep) {
        got.done++;
        held.shift()?.done();
      }
    };
    const subscription = remote.deliveries().subscribe({
      next: (delivery) => {
        take(delivery.value);
        held.push(delivery);
        release(window - 1);
      },
      error: (error: unknown) => { release(0); ends.error(error); },
      complete: () => { release(0); ends.complete(); },
    });
    return () => {
      got.end ??= 'left';
      subscription.unsubscribe();
    };
  }
  const iterator = remote[Symbol.asyncIterator]();
  const pull = (): void => {
    iterator.next().then(
      (step) => {
        if (step.done === true) {
          got.end ??= 'complete';
          return;
        }
        take(step.value);
        broker.after(Math.floor(random() * 10), () => {
          got.done++;
          pull();
        });
      },
      (error: unknown) => { got.end = error; },
    );
  };
  pull();
  return () => {
    got.end ??= 'left';
    void iterator.return?.();
  };
}

describe('streams over virtual links', () => {
  const scenario = fc.record({
    seed: fc.nat(),
    depth: fc.integer({ min: 1, max: 3 }),
    count: fc.integer({ min: 0, max: 60 }),
    values: fc.integer({ min: 1, max: 8 }),
    bytes: fc.integer({ min: 1, max: 4000 }),
    mode: fc.constantFrom<Mode>('subscribe', 'deliveries', 'holding', 'for await'),
    direction: fc.constantFrom('result' as const, 'argument' as const),
    fails: fc.boolean(),
    /** When something happens, and what. */
    event: fc.option(fc.record({ at: fc.nat(400), kind: fc.constantFrom('leave' as const, 'lose' as const, 'die' as const) }), { nil: undefined }),
  });

  it('exceed no credit and lose none, and lose, double and reorder no value, whatever happens meanwhile', async () => {
    await checkAsync(
      fc.asyncProperty(scenario, async ({ seed, depth, count, values, bytes: some, mode, direction, fails, event }) => {
        // Who holds all the bytes that there may be gets nothing more, not even the end.
        const bytes = mode === 'holding' ? 2 ** 20 : some;
        const tree = new VirtualTree({ shape: Array.from({ length: depth }, (_, index) => index), seed, volatile: true, latencyMs: 8 });
        const { broker } = tree;
        const random = seededRandom(seed + 1);
        const [upper, lower] = [tree.node(0), tree.node(depth)];
        const source = new TimedSource(broker, seed, count, fails);
        const got: Got = { values: [], done: 0, end: undefined };
        const leaves: (() => void)[] = [];
        let sent = 0;
        const result = direction === 'result';
        // What leaves the producer, on the link next to it.
        const link = result ? lower.uplink?.right : tree.node(1).uplink?.left;
        const note = link?.note;
        if (link) {
          link.note = (message: Message) => {
            note?.call(link, message);
            if (message.replyTo !== 0 || message.handle < 1000) return;
            const reply = decodeValue(Buffer.concat([message.data, ...(message.tail ?? [])]));
            if (!Array.isArray(reply) || reply[0] !== REPLY_NEXT) return;
            // One may always be under way.
            expect(sent === got.done || sent - got.done < values).toBe(true);
            sent++;
          };
        }
        const upon = (argument: unknown): unknown => {
          if (result) return source;
          const leave = consume((argument as RemoteStream<readonly [number, Uint8Array]>).windowed({ values, bytes }), mode, broker, random, got, values);
          leaves.push(leave);
          return NEVER;
        };
        const dispatcher = new Dispatcher(lower.scope, () => upon, new CallTracker());
        const handles = tree.nodes.map(({ router }) => router.handleCount);
        /** What ends the call first, and then what ends its consumer. */
        if (result) leaves.push(consume(invoke<readonly [number, Uint8Array]>(upper.scope, specOf(depth, [], { window: { values, bytes } })), mode, broker, random, got, values));
        else {
          const call = invoke(upper.scope, specOf(depth, [stream(source)])).subscribe({ error: () => undefined });
          leaves.push(() => { call.unsubscribe(); });
        }
        if (event) {
          broker.after(event.at, () => {
            if (event.kind === 'leave') leaves.at(seed % 2)?.();
            else if (event.kind === 'lose') tree.node(1 + (seed % depth)).uplink?.lose();
            else lower.die();
          });
        }
        await settle(broker, () => got.values.length + source.pulled + got.done + Number(source.ended));
        expect(got.values).toEqual(Array.from({ length: got.values.length }, (_, index) => index));
        if (got.end === 'complete') expect(got.values).toHaveLength(count);
        if (event === undefined || got.end !== undefined) expect(got.end ?? 'nothing').not.toBe('nothing');
        if (event === undefined) {
          expect(got.values).toHaveLength(count);
          expect(got.done).toBe(count);
          if (fails) expect(got.end).toMatchObject({ message: 'the source fails' });
          else expect(got.end).toBe('complete');
        }
        leaves[0]?.();
        await settle(broker, () => source.pulled + Number(source.ended));
        // The consumer of an argument hears of the end of its call.
        if (lower.alive) expect(got.end ?? 'nothing').not.toBe('nothing');
        leaves[1]?.();
        await settle(broker, () => source.pulled + Number(source.ended));
        // Ended or left, nothing is there any more: no source that goes on, no handle, no timer.
        if (source.pulled > 0 && upper.alive && (lower.alive || !result)) expect(source.ended).toBe(true);
        expect(dispatcher.size === 0 || !lower.alive).toBe(true);
        for (const [index, node] of tree.nodes.entries()) if (node.alive) expect(node.router.handleCount).toBe(handles[index]);
        expect(broker.pending).toBe(0);
        expect(tree.faults).toEqual([]);
      }),
      150,
    );
  }, 120_000);

  /** A callee that sends as it likes. */
  function hostileCallee(node: VirtualNode, replies: (send: (value: unknown) => void) => void): unknown[] {
    const controls: unknown[] = [];
    node.router.addHandler(CALL_FUNCTION, {
      deliver: ({ srcId, replyTo }) => {
        replies((value) => { node.router.send({ dstId: srcId, srcId: node.id, handle: replyTo, replyTo: 0, ...encodeValue(value) }); });
      },
    });
    node.router.addHandler(CALL_CONTROL, { deliver: ({ data }) => controls.push(decodeValue(data)) });
    return controls;
  }

  it('a producer that sends more than it was granted loses its stream, and no other', () => {
    check(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2000 }), fc.array(fc.nat(900), { minLength: 1, maxLength: 60 }), (seed, values, bytes, sizes) => {
        const tree = new VirtualTree({ shape: [0], seed });
        const { handleCount } = tree.node(0).router;
        const controls = hostileCallee(tree.node(1), (send) => {
          for (const size of sizes) send([REPLY_NEXT, new Uint8Array(size)]);
          send([REPLY_COMPLETE, null]);
        });
        const got: number[] = [];
        let end: unknown;
        invoke<Uint8Array>(tree.node(0).scope, specOf(1, [], { window: { values, bytes } })).deliveries().subscribe({ next: ({ value }) => got.push(value.length), error: (error: unknown) => { end = error; }, complete: () => { end = 'complete'; } });
        tree.broker.run();
        let allowed = 0;
        for (let sum = 0; allowed < sizes.length && (allowed === 0 || (allowed < values && sum < bytes)); allowed++) sum += encodeValue([REPLY_NEXT, new Uint8Array(sizes[allowed] ?? 0)]).data.length;
        expect(got).toEqual(sizes.slice(0, allowed));
        if (allowed === sizes.length) expect(end).toBe('complete');
        else {
          expect(end).toMatchObject({ code: 'ERR_TENDRIL_CREDIT' });
          expect(controls).toEqual([[expect.any(Number), CONTROL_CANCEL]]);
        }
        expect(tree.node(0).router.handleCount).toBe(handleCount);
        expect(tree.faults).toEqual([]);
      }),
    );
  });

  it('a consumer that acknowledges what it never got, or no number, loses its stream, and no other', () => {
    const count = fc.oneof(fc.nat(300), fc.constantFrom(NaN, Infinity, -Infinity, -1, 0.5, 2 ** 53, '1', null, true, [1], { a: 1 }));
    check(
      fc.property(fc.nat(), fc.array(fc.tuple(count, count), { minLength: 1, maxLength: 20 }), (seed, grants) => {
        const tree = new VirtualTree({ shape: [0, 1], seed });
        const callee = tree.node(2);
        let unsubscribed = 0;
        const flood = new Observable<number>((subscriber) => {
          for (let value = 0; value < 1000; value++) subscriber.next(value);
          return () => { unsubscribed++; };
        });
        const dispatcher = new Dispatcher(callee.scope, ({ name }) => () => (name === 'f' ? flood : 42), new CallTracker());
        const router = tree.node(0).router;
        const replies: unknown[] = [];
        const handle = router.allocateHandle();
        router.addHandler(handle, { respondent: 2, deliver: ({ data, replyTo }) => replies.push(replyTo === IS_DEAD ? 'dead' : decodeValue(data)) });
        router.send({ dstId: 2, srcId: 0, handle: CALL_FUNCTION, replyTo: handle, ...encodeValue([null, 'm', null, 'f', []]) });
        tree.broker.run();
        let inFlight = replies.length;
        let bytes = inFlight === 0 ? 0 : replies.reduce((sum: number, reply) => sum + encodeValue(reply).data.length, 0);
        expect(inFlight).toBe(256);
        let valid = true;
        for (const [values, more] of grants) {
          router.send({ dstId: 2, srcId: 0, handle: CALL_CONTROL, replyTo: 0, ...encodeValue([handle, CONTROL_CREDIT, values, more]) });
          const before = replies.length;
          tree.broker.run();
          valid &&= Number.isInteger(values) && Number.isInteger(more) && (values as number) >= 0 && (values as number) <= inFlight && (more as number) >= 0 && (more as number) <= bytes;
          const arrived = replies.slice(before);
          if (!valid) {
            expect(arrived).toHaveLength(arrived.length === 0 ? 0 : 1);
            break;
          }
          inFlight += arrived.length - (values as number);
          bytes += arrived.reduce((sum: number, reply) => sum + encodeValue(reply).data.length, 0) - (more as number);
          // No more than a window, whatever it grants.
          expect(inFlight).toBeLessThanOrEqual(256);
        }
        if (!valid) {
          expect(replies.at(-1)).toMatchObject([3, { code: 'ERR_TENDRIL_CREDIT' }]);
          expect([dispatcher.size, unsubscribed]).toEqual([0, 1]);
        } else router.send({ dstId: 2, srcId: 0, handle: CALL_CONTROL, replyTo: 0, ...encodeValue([handle, CONTROL_CANCEL]) });
        let other: unknown;
        invoke(tree.node(0).scope, { ...specOf(2, []), ref: () => ({ ...REF, name: 'other' }) }).subscribe((value) => { other = value; });
        tree.broker.run();
        expect([other, dispatcher.size, unsubscribed]).toEqual([42, 0, 1]);
        expect(tree.faults).toEqual([]);
      }),
    );
  });

  it('a context that the stream was not sent to cannot open it, nor end it, and a second time is refused', () => {
    check(
      fc.property(fc.nat(), (seed) => {
        const tree = new VirtualTree({ shape: [0, 0], seed });
        const [root, friend, stranger] = [tree.node(0), tree.node(1), tree.node(2)];
        let handle = 0;
        friend.router.addHandler(CALL_FUNCTION, {
          deliver: ({ data }) => {
            // The last number of the call is the handle of its stream: a tag of two numbers.
            handle = Buffer.from(data).readUInt32BE(data.length - 4);
          },
        });
        let pulled = 0;
        const source = new Observable<number>(() => { pulled++; });
        const call = invoke(root.scope, specOf(1, [stream(source)])).subscribe({ error: () => undefined });
        tree.broker.run();
        const answers = stranger.listen(5000, { policy: () => true });
        const open = (from: VirtualNode): void => { from.router.send({ dstId: 0, srcId: from.id, handle, replyTo: 5000, ...encodeValue([8, 1000]) }); };
        open(stranger);
        stranger.router.send({ dstId: 0, srcId: 2, handle, replyTo: 0, ...encodeValue([5000, CONTROL_CANCEL]) });
        tree.broker.run();
        expect([pulled, answers]).toEqual([0, ['[unexpected-source]']]);
        const own = friend.listen(5000, { policy: () => true });
        open(friend);
        open(friend);
        tree.broker.run();
        expect([pulled, own]).toEqual([1, ['[refused-by-policy]']]);
        call.unsubscribe();
        tree.broker.run();
      }),
      20,
    );
  });

  it('a value that is not a window opens nothing and harms nothing', () => {
    check(
      fc.property(fc.oneof(fc.constantFrom([0, 1], [1, 0], [NaN, 1], [1, Infinity], [1], [2 ** 17, 1], [1, 2 ** 27], 'x', null, {}), fc.array(fc.double(), { maxLength: 3 })), (size) => {
        const tree = new VirtualTree({ shape: [0] });
        const dispatcher = new Dispatcher(tree.node(1).scope, () => () => 1, new CallTracker());
        const { router } = tree.node(0);
        const replies: unknown[] = [];
        router.addHandler(5000, { respondent: 1, deliver: ({ data }) => replies.push(decodeValue(data)) });
        router.send({ dstId: 1, srcId: 0, handle: CALL_FUNCTION, replyTo: 5000, ...encodeValue([null, 'm', null, 'f', [], { w: size }]) });
        tree.broker.run();
        const [values, bytes] = (Array.isArray(size) ? size : []) as number[];
        const valid = Number.isInteger(values) && Number.isInteger(bytes) && values! > 0 && bytes! > 0 && values! <= 65_536 && bytes! <= 2 ** 26;
        if (valid) expect(replies).toEqual([[REPLY_RESULT, 1]]);
        else expect(replies).toMatchObject([[3, { code: 'ERR_TENDRIL_DECODE' }]]);
        expect([dispatcher.size, tree.faults]).toEqual([0, []]);
      }),
    );
  });
});
