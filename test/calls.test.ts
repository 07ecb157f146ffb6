import os from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { catchError, concat, forkJoin, lastValueFrom, mergeMap, of, retry, take, toArray } from 'rxjs';
import { Blob, CallError, ChannelError, EncodeError, Secret, UsageError } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { fromCommonJs, quadruple } from './fixtures/tasks-esm.mjs';
import commonJs from './fixtures/tasks-cjs.cjs';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

describe('calls', () => {
  watchForLeaks();

  it(
    'runs exported functions of TypeScript, ESM and CommonJS modules with relative imports (REFERENCE 115)',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      expect(await first(kid.call(tasks.greet, 'you'))).toBe('hello you');
      expect(await first(kid.call(tasks.arrow, 'abc'))).toBe('ABC');
      expect(await first(kid.call(tasks.default))).toBe('default');
      expect(await first(kid.call(quadruple, 3))).toBe(12);
      expect(await first(kid.call(fromCommonJs))).toBe(42);
      expect(await first(kid.call(commonJs.triple, 3))).toBe(9);
      expect(await first(kid.call(commonJs.answer))).toBe(42);
    }),
  );

  it(
    'runs static methods with the state of their class (REFERENCE 115)',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.Counter.increment, 5))).toBe(5);
      expect(await first(kid.call(tasks.Counter.increment, 2))).toBe(7);
    }),
  );

  it(
    'runs functions of builtin modules',
    withChild(async (kid) => {
      expect(await first(kid.call(os.hostname))).toBe(os.hostname());
      expect(await first(kid.call(os.loadavg))).toHaveLength(3);
    }),
  );

  it(
    'emits results of plain values, promises, observables and async iterables',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.later, 7))).toBe(7);
      expect(await lastValueFrom(kid.call(tasks.nothing).pipe(toArray()))).toEqual([undefined]);
      expect(await lastValueFrom(kid.call(tasks.counting, 5).pipe(toArray()))).toEqual([0, 1, 2, 3, 4]);
      expect(await lastValueFrom(kid.call(tasks.ticks, 1, 3).pipe(toArray()))).toEqual([0, 10, 20]);
      expect(await lastValueFrom(kid.call(tasks.generated, 1000).pipe(toArray()))).toEqual(Array.from({ length: 1000 }, (_, index) => index));
    }),
  );

  it(
    'is cold: nothing runs before subscription, each subscription is a call',
    withChild(async (kid) => {
      const call = kid.call(tasks.Counter.increment);
      expect(await first(kid.call(tasks.Counter.increment))).toBe(1);
      expect(await first(call)).toBe(2);
      expect(await first(call)).toBe(3);
    }),
  );

  it(
    'runs concurrently, and composes with operators',
    withChild(async (kid) => {
      // The first waits for the second: in a context that ran one call at a time this would never end.
      const slow = kid.call(tasks.untilCancelled);
      const subscription = slow.subscribe();
      expect(await first(kid.call(tasks.add, 1, 1))).toBe(2);
      subscription.unsubscribe();
      const sums = of(1, 2, 3).pipe(mergeMap((n) => kid.call(tasks.add, n, n)), toArray());
      expect((await first(sums)).sort()).toEqual([2, 4, 6]);
      expect(await first(forkJoin([kid.call(tasks.add, 1, 2), kid.call(tasks.greet, 'x')]))).toEqual([3, 'hello x']);
      expect(await first(kid.call(tasks.fail, 'no').pipe(retry(2), catchError(() => of('caught'))))).toBe('caught');
    }),
  );

  it(
    'carries every value of the closed set both ways, with its type (REFERENCE 50-63)',
    withChild(async (kid) => {
      const values: unknown[] = [null, undefined, true, 0, -1, 1.5, 2 ** 48, Number.NaN, Infinity, 'text é ü', 10n ** 30n, -5n, new Date(1_700_000_000_123), new Map<unknown, unknown>([[1, 'one'], ['k', [2]]]), new Set([1, 'a']), [1, [2, [3]]], { a: { b: undefined } }];
      for (const value of values) expect(await first(kid.call(tasks.identity, value))).toEqual(value);
      const floats = (await first(kid.call(tasks.identity, new Float64Array([1.5, -2])))) as unknown as Float64Array;
      expect(floats[Symbol.toStringTag]).toBe('Float64Array');
      expect([...floats]).toEqual([1.5, -2]);
      const large = Buffer.alloc(300_000, 7);
      expect(Buffer.compare((await first(kid.call(tasks.identity, large))) as unknown as Buffer, large)).toBe(0);
      const blob = (await first(kid.call(tasks.identity, Blob.wrap(Buffer.from('abc'))))) as unknown as Blob;
      expect(String(blob)).toBe('[blob: 3 bytes]');
      expect(await first(kid.call(tasks.secretLength, new Secret('hush')))).toBe(4);
    }),
  );

  it(
    'fails with a CallError that has name, message, code, cause and the remote stack (REFERENCE 116)',
    withChild(async (kid) => {
      const error = await failure(kid.call(tasks.fail, 'broken'));
      expect(error).toBeInstanceOf(CallError);
      expect(error).toMatchObject({ message: 'broken', code: 'E_BAD', remoteName: 'Error', cause: { message: 'the cause', remoteName: 'TypeError' } });
      // The line of the TypeScript source, though JavaScript ran.
      expect((error as CallError).remoteStack).toMatch(/fixtures\/tasks\.ts:54:/);
      expect(await failure(kid.call(tasks.failLater))).toMatchObject({ message: 'later', remoteName: 'RangeError' });
    }),
  );

  it(
    'delivers what came before the error of a stream',
    withChild(async (kid) => {
      const seen: number[] = [];
      const error = await new Promise((resolve) => kid.call(tasks.failingStream).subscribe({ next: (value) => seen.push(value), error: resolve }));
      expect(seen).toHaveLength(1000);
      expect(error).toMatchObject({ message: 'after a thousand' });
    }),
  );

  it.each([
    ['function', 'result.deep[0].callback'],
    ['cycle', 'result.self'],
    ['symbol', 'result'],
    ['instance', 'result.socket'],
  ])(
    'a result that cannot be sent (%s) fails that call with the path, and harms nothing else (REFERENCE 7.1)',
    (kind, path) =>
      withChild(async (kid) => {
        const error = await failure(kid.call(tasks.bad, kind));
        expect(error).toMatchObject({ code: 'ERR_TENDRIL_ENCODE' });
        expect(error.message).toContain(`${path} cannot be sent`);
        expect(await first(kid.call(tasks.add, 1, 1))).toBe(2);
      })(),
  );

  it(
    'an argument that cannot be sent fails the call at its caller with the path',
    withChild(async (kid) => {
      const error = await failure(kid.call(tasks.identity, { list: [1, () => 1] }));
      expect(error).toBeInstanceOf(EncodeError);
      expect((error as EncodeError).path).toBe('args[0].list[1]');
      expect(await first(kid.call(tasks.add, 1, 1))).toBe(2);
    }),
  );

  it(
    'cuts long error texts instead of failing (REFERENCE 84, 7.3)',
    withChild(async (kid) => {
      const error = await failure(kid.call(tasks.longError, 200_000));
      expect(error).toBeInstanceOf(CallError);
      expect(error.message.length).toBeLessThan(20_000);
      expect(error.message).toContain('characters cut');
    }),
  );

  it(
    'unsubscribing fires the AbortSignal there and unsubscribes the observable there',
    withChild(async (kid) => {
      await first(kid.connected);
      kid.call(tasks.untilCancelled).subscribe().unsubscribe();
      await first(kid.call(tasks.never).pipe(take(1)));
      expect(await first(kid.call(tasks.cancellations))).toEqual({ cancelled: 1, unsubscribed: 1 });
      expect(await first(kid.call(tasks.abortedAfterAwait))).toBe(false);
    }),
  );

  it(
    'an AbortSignal given to a call fails it with its reason and cancels it there',
    withChild(async (kid) => {
      const controller = new AbortController();
      const failed = failure(kid.with({ signal: controller.signal }).call(tasks.untilCancelled));
      await first(kid.call(tasks.add, 1, 1));
      controller.abort(new Error('enough'));
      expect(await failed).toMatchObject({ message: 'enough' });
      expect(await first(kid.call(tasks.cancellations))).toMatchObject({ cancelled: 1 });
      expect(await failure(kid.with({ signal: controller.signal }).call(tasks.add, 1, 2))).toMatchObject({ message: 'enough' });
    }),
  );

  it(
    'a call that is unsubscribed before the context is up is never made',
    withTree.bind(null, {}, async ({ master }) => {
      const kid = master.local();
      kid.call(tasks.Counter.increment).subscribe().unsubscribe();
      expect(await first(kid.call(tasks.Counter.increment))).toBe(1);
    }),
  );

  it(
    'calls of a chain run in order, and fail fast (REFERENCE 122, 123)',
    withChild(async (kid) => {
      const chain = kid.chain();
      const results = [chain.call(tasks.step, 'a', 20), chain.call(tasks.step, 'b', 0), chain.call(tasks.step, 'c', 0, 'fail'), chain.call(tasks.step, 'd', 0)].map((call) => lastValueFrom(call.pipe(catchError((error: Error) => of(error.message)))));
      expect(await Promise.all(results)).toEqual([['a'], ['a', 'b'], 'c failed', 'c failed']);
      expect(await first(kid.chain().call(tasks.step, 'e', 0))).toEqual(['a', 'b', 'c', 'e']);
    }),
  );

  it(
    'a chain is poisoned by a call that cannot even be resolved (REFERENCE 253)',
    withChild(async (kid) => {
      const chain = kid.with({ chain: 'mine' });
      const { broken } = (await import('./fixtures/broken.ts')) as { broken: () => void };
      expect(await failure(chain.call(broken))).toBeInstanceOf(CallError);
      expect(await failure(chain.call(tasks.add, 1, 2))).toBeInstanceOf(CallError);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'a chain is poisoned by a call that cannot be sent, too',
    withChild(async (kid) => {
      const chain = kid.chain();
      expect(await failure(chain.call(tasks.identity, () => 1))).toBeInstanceOf(EncodeError);
      expect(await failure(chain.call(tasks.add, 1, 2))).toBeInstanceOf(EncodeError);
      expect(await first(kid.chain().call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'a value of a stream that is too large ends the stream over there too',
    withChild(
      async (kid) => {
        expect(await failure(kid.call(tasks.grows))).toMatchObject({ reason: 'too-large' });
        expect(await first(kid.call(tasks.cancellations))).toMatchObject({ unsubscribed: 1 });
      },
      { maxMessageSize: 65_536 },
    ),
  );

  it(
    'a subscriber that throws harms only itself, wherever it subscribed',
    withChild(async (kid, { master }) => {
      const faults: string[] = [];
      master.broker.faults.subscribe(({ where }) => faults.push(where));
      const bad = (): never => {
        throw new Error('in a subscriber');
      };
      kid.connected.subscribe(bad);
      master.logs.subscribe(bad);
      master.router.events.subscribe(bad);
      kid.call(tasks.add, 1, 2).subscribe(bad);
      kid.call(tasks.counting, 3).pipe(take(2)).subscribe(bad);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      await first(kid.call(tasks.print));
      expect(faults.filter((where) => where === 'subscriber of a call')).toHaveLength(2);
      expect(faults).toEqual(expect.arrayContaining(['subscriber of kid.connected']));
    }),
  );

  it(
    'never has more than a window of a stream in flight',
    withChild(async (kid) => {
      // The consumer leaves after one value; the producer has been pulled for one window at the most.
      await first(kid.call(tasks.endless).pipe(take(1)));
      expect(await first(kid.call(tasks.pulledSoFar))).toBeLessThanOrEqual(2 * 256 + 1);
    }),
  );

  it(
    'an observable that floods faster than it is consumed fails loudly, and only then',
    withChild(async (kid) => {
      expect(await lastValueFrom(kid.call(tasks.flood, 64, 100_000).pipe(toArray()))).toHaveLength(64);
      expect(await failure(kid.call(tasks.flood, 2000, 100_000))).toMatchObject({ code: 'ERR_TENDRIL_OVERFLOW' });
    }),
  );

  it('says what to do with closures, bound and unexported functions (REFERENCE 125)', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local();
      const local = 1;
      const closure = (): number => local;
      for (const fn of [closure, tasks.add.bind(null), tasks.hiddenFunction()]) {
        const error = await failure(kid.call(fn as () => unknown));
        expect(error).toBeInstanceOf(UsageError);
        expect(error.message).toMatch(/export function/);
      }
      expect((await failure(kid.call(closure))).message).toContain('the function closure');
    }));

  it(
    'every pending call settles when the context dies (REFERENCE 136)',
    withChild(async (kid) => {
      const { pid } = await first(kid.call(tasks.whereAmI));
      const pending = [kid.call(tasks.hang), kid.call(tasks.never), kid.handle<number>(4711)].map(failure);
      await first(kid.call(tasks.add, 1, 1));
      process.kill(pid, 'SIGKILL');
      for (const error of await Promise.all(pending)) expect(error).toBeInstanceOf(ChannelError);
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost', exit: { signal: 'SIGKILL' } });
      expect(await failure(kid.call(tasks.add, 1, 1))).toBeInstanceOf(ChannelError);
    }),
  );

  it(
    'knows itself, its parent and its caller in a child',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.who))).toEqual({ self: kid.id, parent: 0, caller: 0 });
    }),
  );

  it(
    'a call and a stream at once share the way without mixing',
    withChild(async (kid) => {
      const streams = Array.from({ length: 8 }, (_, index) => lastValueFrom(kid.call(tasks.generated, 500 + index).pipe(toArray())));
      const sums = lastValueFrom(concat(...Array.from({ length: 100 }, (_, index) => kid.call(tasks.add, index, 1))).pipe(toArray()));
      expect((await Promise.all(streams)).map((values) => values.length)).toEqual(Array.from({ length: 8 }, (_, index) => 500 + index));
      expect(await sums).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    }),
  );
});
