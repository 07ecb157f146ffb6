import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Subscription } from 'rxjs';
import { CallTracker } from '../src/core/call/current-call.ts';
import { Dispatcher } from '../src/core/call/dispatch.ts';
import { invoke } from '../src/core/call/invoke.ts';
import { TendrilError } from '../src/core/errors.ts';
import { CALL_SERVICE } from '../src/core/wire/handles.ts';
import { allowAny } from '../src/importer/service-policies.ts';
import { Pool, serviceRef } from '../src/service/pool.ts';
import type { VirtualNode } from '../test/support/virtual-tree.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import { checkAsync } from './support.ts';

const LIMIT = 3;
const QUEUE = 5;

/** Work that is under way in the service, until the test ends it. */
interface Work {
  readonly key: number;
  readonly end: (failure?: Error) => void;
}

/** Keeps its work until it is told to end it. */
class Worker {
  static readonly concurrency = LIMIT + 1;
  static readonly queue = QUEUE;
  static readonly methods = {
    limited: { policy: allowAny, concurrency: LIMIT, queue: QUEUE },
    shared: { policy: allowAny, dedupe: (key: number) => key },
  };

  readonly limitedWork: Work[] = [];
  readonly sharedWork: Work[] = [];
  most = 0;

  limited(key: number): Promise<number> {
    return this.#begin(this.limitedWork, key);
  }

  shared(key: number): Promise<number> {
    return this.#begin(this.sharedWork, key);
  }

  #begin(works: Work[], key: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const work: Work = {
        key,
        end: (failure) => {
          works.splice(works.indexOf(work), 1);
          if (failure) reject(failure);
          else resolve(key);
        },
      };
      works.push(work);
      this.most = Math.max(this.most, this.limitedWork.length);
    });
  }
}

/** A caller's view of one call. */
interface Made {
  readonly caller: VirtualNode;
  readonly key: number;
  readonly method: 'limited' | 'shared';
  readonly subscription: Subscription;
  left: boolean;
  readonly ends: unknown[];
  readonly values: unknown[];
}

type Step =
  | { readonly kind: 'call'; readonly caller: number; readonly method: 'limited' | 'shared'; readonly key: number }
  | { readonly kind: 'leave'; readonly which: number }
  | { readonly kind: 'end'; readonly method: 'limited' | 'shared'; readonly which: number; readonly fails: boolean }
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'die'; readonly caller: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('call' as const), caller: fc.nat(2), method: fc.constantFrom('limited' as const, 'shared' as const), key: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('leave' as const), which: fc.nat(40) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('end' as const), method: fc.constantFrom('limited' as const, 'shared' as const), which: fc.nat(10), fails: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('die' as const), caller: fc.nat(2) }) },
);

function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

describe('services, in any order of calls, ends, departures and losses', () => {
  it('never run more than they may, give each caller its answer once, and keep nothing', async () => {
    await checkAsync(
      fc.asyncProperty(fc.nat(), fc.array(step, { maxLength: 60 }), async (seed, steps) => {
        // The service is in context 1; its callers are the master and two siblings.
        const tree = new VirtualTree({ shape: [0, 0, 0], seed, latencyMs: 5 });
        const home = tree.node(1);
        const { router } = home;
        const worker = new Worker();
        const tracker = new CallTracker();
        const dispatcher = new Dispatcher(home.scope, () => { throw new Error('no functions here'); }, tracker);
        const pool = new Pool({
          router,
          dispatcher,
          tracker,
          now: () => tree.broker.now(),
          report: tree.broker.report,
          error: (code, message) => new TendrilError(code, message),
          relationOf: (id) => (id === 0 ? 'parent' : 'sibling'),
          load: () => undefined,
          namesOf: () => [],
        });
        pool.serve(worker, serviceRef('', 'worker'));
        const atRest = router.handleCount;
        const callers = [tree.node(0), tree.node(2), tree.node(3)];
        const handles = callers.map((caller) => caller.router.handleCount);
        const made: Made[] = [];
        for (const each of steps) {
          switch (each.kind) {
            case 'call': {
              const caller = callers[each.caller]!;
              if (!caller.alive) break;
              const target = { contextId: home.id, name: 'home', ready: true, calls: 0, chains: new Map(), whenReady: () => undefined, prepare: () => undefined };
              const { method, key } = each;
              const ends: unknown[] = [];
              const values: unknown[] = [];
              const subscription = invoke(caller.scope, { target, ref: () => ({ module: 'service:', className: 'worker', name: method, handle: CALL_SERVICE }), args: [key], chain: null }).subscribe({ next: (value) => values.push(value), error: (error) => ends.push(error), complete: () => ends.push('complete') });
              made.push({ caller, key, method, subscription, ends, values, left: false });
              break;
            }
            case 'leave': {
              const call = made[each.which];
              if (call === undefined || call.ends.length > 0) break;
              call.left = true;
              call.subscription.unsubscribe();
              break;
            }
            case 'end': {
              const works = each.method === 'limited' ? worker.limitedWork : worker.sharedWork;
              works[each.which % Math.max(1, works.length)]?.end(each.fails ? new Error('failed') : undefined);
              break;
            }
            case 'time':
              tree.broker.advance(each.ms);
              await settle();
              break;
            default:
              // The master's end is that of all.
              if (each.caller > 0) callers[each.caller]!.die();
          }
          expect(worker.most).toBeLessThanOrEqual(LIMIT);
        }
        // To the end: whatever still runs ends, as long as anything comes after it.
        for (let round = 0; round < 200; round++) {
          tree.broker.advance(20);
          await settle();
          for (const works of [worker.limitedWork, worker.sharedWork]) for (const work of [...works]) work.end();
          await settle();
        }
        for (const { caller, key, ends, values, left } of made) {
          if (left) expect(ends).toEqual([]);
          else if (caller.alive) {
            expect(ends).toHaveLength(1);
            const [end] = ends as [Error | 'complete'];
            if (end === 'complete') expect(values).toEqual([key]);
            else expect([(end as { code?: string }).code, end.message]).toContainEqual(expect.stringMatching(/^(ERR_TENDRIL_SERVICE_BUSY|failed)$/));
          }
        }
        expect([dispatcher.size, dispatcher.occupied, router.handleCount]).toEqual([0, false, atRest]);
        callers.forEach((caller, index) => {
          if (caller.alive) expect(caller.router.handleCount).toBe(handles[index]);
        });
        expect(tree.faults).toEqual([]);
      }),
      60,
    );
  });
});
