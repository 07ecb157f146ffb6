import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Subject, finalize, interval, range, take } from 'rxjs';
import { CreditWindow } from '../src/core/call/credit.ts';
import { CallTracker } from '../src/core/call/current-call.ts';
import { Dispatcher } from '../src/core/call/dispatch.ts';
import { invoke } from '../src/core/call/invoke.ts';
import { MAX_WAITING_VALUES, WINDOW_BYTES, WINDOW_VALUES } from '../src/core/call/protocol.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import { check, checkAsync } from './support.ts';

const size = fc.oneof({ weight: 5, arbitrary: fc.nat(1000) }, { weight: 1, arbitrary: fc.integer({ min: Math.floor(WINDOW_BYTES / 3), max: WINDOW_BYTES * 2 }) });

const WINDOW = [WINDOW_VALUES, WINDOW_BYTES] as const;

describe('CreditWindow', () => {
  /** Offers of values, and acknowledgements of some of what is in flight; some are made from within a sending. */
  const step = fc.oneof(
    fc.record({ kind: fc.constant('offer' as const), count: fc.integer({ min: 1, max: WINDOW_VALUES }), bytes: size }),
    fc.record({ kind: fc.constant('grant' as const), count: fc.integer({ min: 0, max: WINDOW_VALUES }), bytes: fc.constant(0) }),
  );

  it('never has more than a window in flight, and loses, doubles and reorders nothing', () => {
    check(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(7), (steps, echo) => {
        const sent: { item: number; bytes: number }[] = [];
        const sizes: number[] = [];
        let acknowledged = 0;
        const acknowledge = (count: number): void => {
          const some = sent.slice(acknowledged, acknowledged + count);
          acknowledged += some.length;
          window.grant(some.length, some.reduce((sum, { bytes }) => sum + bytes, 0));
        };
        const window: CreditWindow<number> = new CreditWindow<number>((item) => {
          const bytes = sizes[item] ?? 0;
          const inFlight = sent.slice(acknowledged).reduce((sum, each) => sum + each.bytes, 0);
          sent.push({ item, bytes });
          expect(sent.length - acknowledged).toBeLessThanOrEqual(WINDOW_VALUES);
          // A value is only sent while the window is not full, or when nothing is in flight.
          expect(inFlight === 0 || inFlight < WINDOW_BYTES).toBe(true);
          // A caller in the same process acknowledges before the sending returns.
          if (echo > 0 && item % 8 === echo) acknowledge(2);
        }, WINDOW);
        let offered = 0;
        for (const { kind, count, bytes } of steps) {
          if (kind === 'grant') acknowledge(count);
          else {
            for (let each = 0; each < count; each++) {
              sizes.push(bytes);
              if (!window.offer(offered, bytes)) {
                sizes.pop();
                break;
              }
              offered++;
            }
          }
          expect(window.inFlight).toBe(sent.length - acknowledged);
          expect(window.waiting).toBe(offered - sent.length);
        }
        while (acknowledged < offered) acknowledge(1);
        expect(sent.map(({ item }) => item)).toEqual(Array.from({ length: offered }, (_, item) => item));
        expect([window.inFlight, window.bytesInFlight, window.waiting, window.open]).toEqual([0, 0, 0, true]);
      }),
    );
  });

  it('takes no acknowledgement of what was never sent, nor of what is no number', () => {
    const count = fc.oneof(fc.integer({ min: 1, max: 10_000 }), fc.double({ max: -0.1 }), fc.constantFrom(NaN, Infinity, -1, 0.5, '1', null, undefined, [1]));
    check(
      fc.property(fc.array(fc.tuple(count, count), { maxLength: 10 }), (grants) => {
        let sent = 0;
        const window = new CreditWindow<number>(() => sent++, WINDOW);
        for (const [values, bytes] of grants) expect(window.grant(values, bytes)).toBe(false);
        for (let item = 0; item < WINDOW_VALUES * 2; item++) window.offer(item, 1);
        expect(sent).toBe(WINDOW_VALUES);
      }),
    );
  });

  it('refuses, and says so, when too much waits', () => {
    const window = new CreditWindow<number>(() => undefined, WINDOW);
    let accepted = 0;
    while (accepted < 1_000_000 && window.offer(accepted, 1)) accepted++;
    expect(accepted).toBe(WINDOW_VALUES + MAX_WAITING_VALUES);
  });
});

describe('a streamed call over virtual links', () => {
  interface Run {
    readonly source: (count: number, tree: VirtualTree) => unknown;
    readonly count: number;
    readonly seed: number;
  }

  const SOURCES: Readonly<Record<string, Run['source']>> = {
    'an observable that emits at once': (count) => range(0, count),
    'an observable in time': (count, tree) => interval(1, tree.broker).pipe(take(count)),
    'an async generator': async function* (count) { for (let value = 0; value < count; value++) yield await Promise.resolve(value); },
  };

  /** Runs a call to its end and checks what was in flight at every moment. */
  async function run({ source, count, seed }: Run): Promise<void> {
    const tree = new VirtualTree({ shape: [0, 1], seed, volatile: true, latencyMs: 5, maxMessageSize: 8 * 1024 * 1024 });
    const [caller, callee] = [tree.node(0), tree.node(2)];
    const { handleCount } = caller.router;
    let produced = 0;
    let most = 0;
    const got: number[] = [];
    const dispatcher = new Dispatcher(callee.scope, () => () => source(count, tree), new CallTracker());
    const link = callee.uplink;
    const note = link?.right.note;
    // Replies leave the callee on its uplink.
    if (link) link.right.note = (message) => {
      note?.(message);
      produced++;
      most = Math.max(most, produced - got.length);
    };
    const target = { contextId: callee.id, name: 'callee', ready: true, calls: 0, chains: new Map(), whenReady: () => undefined, prepare: () => undefined };
    const ends: unknown[] = [];
    invoke<number>(caller.scope, { target, ref: () => ({ module: 'm', className: null, name: 'f' }), args: [], chain: null }).subscribe({
      next: (value) => got.push(value),
      error: (error: unknown) => ends.push(error),
      complete: () => ends.push('complete'),
    });
    // Async sources go on in microtasks, between stretches of virtual time.
    for (let idle = 0; idle < 20 && ends.length === 0; idle++) {
      const before = got.length;
      tree.broker.advance(50);
      await new Promise((resolve) => { setImmediate(resolve); });
      if (got.length > before) idle = 0;
    }
    tree.broker.run();
    expect(ends).toEqual(['complete']);
    expect(got).toEqual(Array.from({ length: count }, (_, value) => value));
    // The reply that ends the call needs no credit.
    expect(most).toBeLessThanOrEqual(WINDOW_VALUES + 1);
    expect([dispatcher.size, caller.router.handleCount]).toEqual([0, handleCount]);
    expect(tree.faults).toEqual([]);
  }

  it.each(Object.entries(SOURCES))('has no more than a window in flight and gives every value in order: %s', async (_name, source) => {
    await checkAsync(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 0, max: 3 * WINDOW_VALUES }), (seed, count) => run({ source, count, seed })),
      15,
    );
  });

  it('stops the source when the caller leaves, and sends nothing more', () => {
    check(
      fc.property(fc.nat(), fc.nat(600), (seed, leaveAfter) => {
        const tree = new VirtualTree({ shape: [0], seed });
        const source = new Subject<number>();
        let unsubscribed = 0;
        const observable = source.pipe(finalize(() => unsubscribed++));
        const dispatcher = new Dispatcher(tree.node(1).scope, () => () => observable, new CallTracker());
        const target = { contextId: 1, name: 'callee', ready: true, calls: 0, chains: new Map(), whenReady: () => undefined, prepare: () => undefined };
        const got: number[] = [];
        const subscription = invoke<number>(tree.node(0).scope, { target, ref: () => ({ module: 'm', className: null, name: 'f' }), args: [], chain: null })
          .pipe(take(leaveAfter + 1))
          .subscribe((value) => got.push(value));
        tree.broker.run();
        for (let value = 0; value < 700; value++) {
          source.next(value);
          tree.broker.advance(1);
        }
        tree.broker.run();
        expect(got).toEqual(Array.from({ length: leaveAfter + 1 }, (_, value) => value));
        expect([subscription.closed, unsubscribed, source.observed, dispatcher.size]).toEqual([true, 1, false, 0]);
      }),
      30,
    );
  });
});
