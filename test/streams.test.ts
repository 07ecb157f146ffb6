import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { NEVER, Observable, Subject, firstValueFrom, interval, lastValueFrom, of, range, take, toArray } from 'rxjs';
import { Master, RemoteStream, UsageError, attach, stream } from 'tendril';
import type { ConnectedContext, Delivery } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild } from './support/tree.ts';

async function* upTo(count: number, log: (value: number) => void = () => undefined): AsyncGenerator<number, undefined> {
  for (let value = 0; value < count; value++) {
    log(value);
    yield await Promise.resolve(value);
  }
  return undefined;
}

/** Asks the context for anything until `fits`. */
async function until(kid: ConnectedContext, fits: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2000 && !fits(); turn++) await first(kid.call(tasks.nothing));
  expect(fits()).toBe(true);
}

describe('streams', () => {
  watchForLeaks();

  it(
    'for await asks for the next value when the one before is dealt with, and leaving ends the stream over there',
    withChild(async (kid) => {
      const got: number[] = [];
      for await (const value of kid.call(tasks.generated, 1000)) got.push(value);
      expect(got).toEqual(Array.from({ length: 1000 }, (_, value) => value));
      for await (const value of kid.with({ window: { values: 2 } }).call(tasks.endless)) if (value > 5) break;
      // Six, the one that is left at, and a window behind it.
      expect(await first(kid.call(tasks.pulledSoFar))).toBeLessThanOrEqual(10);
      const failing = kid.call(tasks.failingStream)[Symbol.asyncIterator]();
      for (let value = 0; value < 1000; value++) expect(await failing.next()).toEqual({ done: false, value });
      await expect(failing.next()).rejects.toThrow('after a thousand');
      expect(await failing.next()).toEqual({ done: true, value: undefined });
    }),
  );

  it(
    'return() ends a stream that waits for a value',
    withChild(async (kid) => {
      const values = kid.call(tasks.never)[Symbol.asyncIterator]();
      expect(await values.next()).toEqual({ done: false, value: 1 });
      const waiting = values.next();
      expect(await values.return?.()).toEqual({ done: true, value: undefined });
      expect(await waiting).toEqual({ done: true, value: undefined });
      expect(await first(kid.call(tasks.cancellations))).toMatchObject({ unsubscribed: 1 });
    }),
  );

  it(
    'deliveries give the credit back when they are done, and no sooner',
    withChild(async (kid) => {
      const open: Delivery<number>[] = [];
      const subscription = kid.with({ window: { values: 8 } }).call(tasks.endless).deliveries().subscribe((delivery) => open.push(delivery));
      await until(kid, () => open.length >= 8);
      expect(await first(kid.call(tasks.pulledSoFar))).toBe(8);
      // Twice is once.
      open[0]?.done();
      open[0]?.done();
      await until(kid, () => open.length >= 9);
      expect(await first(kid.call(tasks.pulledSoFar))).toBe(9);
      subscription.unsubscribe();
    }),
  );

  it(
    'passes a generator, a Readable and an observable as arguments',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.total, stream(upTo(2000))))).toBe(1_999_000);
      expect(await first(kid.call(tasks.total, stream<number>(Readable.from([1, 2, 3]))))).toBe(6);
      expect(await first(kid.call(tasks.total, stream(range(0, 2000))))).toBe(1_999_000);
      expect(await first(kid.call(tasks.total, stream(of())))).toBe(0);
      expect(await first(kid.call(tasks.total, stream(new Set([1, 2]))))).toBe(3);
      for (const none of ['text', Buffer.from('bytes'), 5, null, undefined, {}]) expect(() => stream(none as never)).toThrow(UsageError);
    }),
  );

  it(
    'pauses a generator that is an argument while its consumer has enough',
    withChild(async (kid) => {
      const pulled: number[] = [];
      expect(await first(kid.call(tasks.firstOf, stream(upTo(100_000, (value) => pulled.push(value)))))).toBe(0);
      expect(pulled.length).toBeLessThanOrEqual(2 * 256);
    }),
  );

  it(
    'relays through a function without letting the producer run ahead',
    withChild(async (kid) => {
      const pulled: number[] = [];
      const relayed = kid.with({ window: { values: 4 } }).call(tasks.passOn, stream(upTo(100_000, (value) => pulled.push(value))));
      expect(relayed).toBeInstanceOf(RemoteStream);
      expect(await lastValueFrom(relayed.pipe(take(3), toArray()))).toEqual([0, 1, 2]);
      await first(kid.call(tasks.nothing));
      expect(pulled.length).toBeLessThanOrEqual(3 * 256);
      expect(await lastValueFrom(kid.call(tasks.passOn, stream(upTo(3000))).pipe(toArray()))).toHaveLength(3000);
    }),
  );

  it(
    'an error of the source reaches the consumer, also of a Readable that fails before it is read',
    withChild(async (kid) => {
      expect(await failure(kid.call(tasks.total, stream(new Observable<number>((subscriber) => { subscriber.error(new RangeError('no more')); }))))).toMatchObject({ message: 'no more', remoteName: 'RangeError' });
      const broken = new Readable({ objectMode: true, read: () => undefined });
      const values = stream<number>(broken);
      broken.destroy(new Error('disk on fire'));
      await new Promise((resolve) => { setImmediate(resolve); });
      expect(await failure(kid.call(tasks.total, values))).toMatchObject({ message: 'disk on fire' });
    }),
  );

  it(
    'sends streams in results and in messages',
    withChild(async (kid) => {
      const { title, lines } = await first(kid.call(tasks.report, 3));
      expect(title).toBe('report');
      expect(await lastValueFrom(lines.pipe(toArray()))).toEqual(['line 0', 'line 1', 'line 2']);
      const sums = firstValueFrom(kid.call(tasks.listenForStreams, 4000).pipe(take(5), toArray()));
      await first(kid.call(tasks.nothing));
      const mailbox = kid.handle<RemoteStream<number>>(4000);
      mailbox.next(stream(upTo(3)));
      mailbox.next(stream(of(3, 4)));
      expect((await sums).sort()).toEqual([0, 1, 2, 3, 4]);
    }),
  );

  it(
    'goes to functions of Node itself, and past the policy of modules',
    withChild(
      async (kid) => {
        const path = join(await mkdtemp(join(tmpdir(), 'tendril-streams-')), 'lines');
        const lines = async function* (): AsyncGenerator<string> { for (const line of ['one\n', 'two\n']) yield await Promise.resolve(line); };
        await first(kid.call(writeFile, path, stream(lines())));
        expect(await readFile(path, 'utf8')).toBe('one\ntwo\n');
        await rm(dirname(path), { recursive: true });
      },
      { modules: { allow: [] } },
    ),
  );

  it(
    'can be consumed once, and sent once',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.refusesTwice, stream(NEVER)))).toBe('ERR_TENDRIL_STREAM_USED');
      const values = stream(upTo(3));
      expect(await first(kid.call(tasks.total, values))).toBe(3);
      expect(await failure(kid.call(tasks.total, values))).toMatchObject({ code: 'ERR_TENDRIL_STREAM_USED' });
    }),
  );

  it(
    'takes back what nobody has opened, and stops what a cancelled or failed call has',
    withChild(async (kid, { master }) => {
      await first(kid.connected);
      await first(kid.call(tasks.nothing));
      const before = master.router.handleCount;
      const readable = new Readable({ objectMode: true, read: () => undefined });
      expect(await first(kid.call(tasks.ignores, stream<number>(readable)))).toBe('object');
      expect([readable.destroyed, master.router.handleCount]).toEqual([true, before]);
      const source = new Subject<number>();
      const got = firstValueFrom(kid.call(tasks.openAndWait, stream(source)));
      await until(kid, () => source.observed);
      source.next(7);
      expect(await got).toBe(7);
      expect([source.observed, master.router.handleCount]).toEqual([false, before]);
      // Not sent at all: it is encoded, and then something else cannot be.
      const unsent = new Readable({ objectMode: true, read: () => undefined });
      expect(await failure(kid.call(tasks.identity, [stream(unsent), () => 1]))).toMatchObject({ code: 'ERR_TENDRIL_ENCODE', path: 'args[0][1]' });
      expect([unsent.destroyed, master.router.handleCount]).toEqual([true, before]);
      // One that was taken back unopened can be sent again.
      const again = stream(upTo(4));
      await first(kid.call(tasks.ignores, again));
    }),
  );

  it(
    'ends with the context that it was sent to, and with the one that it comes from',
    withChild(async (kid, { master }) => {
      await first(kid.connected);
      const source = new Subject<number>();
      const ended = failure(kid.call(tasks.openAndWait, stream(source)));
      await until(kid, () => source.observed);
      const { lines, never } = await first(kid.call(tasks.report, 2));
      const message = new Subject<number>();
      kid.call(tasks.listenForStreams, 4000).subscribe({ error: () => undefined });
      await first(kid.call(tasks.nothing));
      kid.handle<RemoteStream<number>>(4000).next(stream(message));
      await until(kid, () => message.observed);
      const broken = failure(never);
      await kid.shutdown();
      await ended;
      expect(await broken).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect(await failure(lines)).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect([source.observed, message.observed]).toEqual([false, false]);
      expect([...master.router.streams]).toEqual([]);
    }),
  );

  it(
    'five that wait get one value each, and the end wakes all who wait (REFERENCE 89, 97, 98)',
    withChild(async (kid) => {
      const values = kid.call(tasks.passOn, stream<number>([0, 1, undefined as never, 3, 4]))[Symbol.asyncIterator]();
      const got = await Promise.all(Array.from({ length: 5 }, () => values.next()));
      expect(got.map(({ value }) => value)).toEqual([0, 1, undefined, 3, 4]);
      expect(got.map(({ done }) => done)).toEqual([false, false, false, false, false]);
      const ends = await Promise.all(Array.from({ length: 5 }, () => values.next()));
      expect(ends).toEqual(Array.from({ length: 5 }, () => ({ done: true, value: undefined })));
      const silent = kid.call(tasks.never)[Symbol.asyncIterator]();
      await silent.next();
      const waiting = Array.from({ length: 5 }, () => silent.next());
      await silent.return?.();
      expect(await Promise.all(waiting)).toEqual(ends);
    }),
  );

  it(
    'a stream that nobody has opened is taken back when it was collected',
    withChild(async (kid) => {
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as () => void;
      await first(kid.call(tasks.report, 1));
      const before = await first(kid.call(tasks.handles));
      await (async () => { await first(kid.call(tasks.report, 1)); })();
      let now = before + 2;
      for (let turn = 0; turn < 100 && now > before - 2; turn++) {
        await new Promise((resolve) => { setImmediate(resolve); });
        collect();
        now = await first(kid.call(tasks.handles));
      }
      // Those of the first report, and of the second.
      expect(now).toBe(before - 2);
    }),
  );

  it(
    'come to a process that has joined the tree, which cannot send any',
    withChild(async (kid, { master }) => {
      await first(kid.connected);
      const listener = await master.listen();
      const tree = await attach({ path: listener.path });
      const seen = tree.context('kid');
      if (seen === undefined) throw new Error('the context is not there');
      const { lines } = await first(seen.call(tasks.report, 600));
      expect(await lastValueFrom(lines.windowed({ values: 8 }).pipe(toArray()))).toHaveLength(600);
      expect(await first(seen.with({ window: { values: 3 } }).call(tasks.generated, 500).pipe(toArray()))).toHaveLength(500);
      expect(await failure(seen.call(tasks.total, stream([1])))).toMatchObject({ code: 'ERR_TENDRIL_STREAM_PLACE' });
      expect(await failure(seen.with({ deadline: 100 }).call(tasks.untilCancelled))).toMatchObject({ code: 'ERR_TENDRIL_DEADLINE' });
      await tree.close();
      await listener.close();
    }),
  );

  it(
    'go at the rate of the master beside small calls, at each link',
    withChild(
      async (_kid, { master }) => {
        const far = master.local({ via: master.local() });
        await first(far.call(tasks.nothing));
        let done = false;
        const chatter = Array.from({ length: 8 }, async () => {
          while (!done) await first(far.call(tasks.nothing));
        });
        const begun = performance.now();
        let received = 0;
        for await (const value of far.call(tasks.interleaved, 64, 128 * 1024)) received += value.length;
        const took = performance.now() - begun;
        done = true;
        await Promise.all(chatter);
        expect(received).toBe(8 * 1024 * 1024);
        // At 8 MiB a second, less a window that may go before anyone looks. That nothing is slower is not for a test.
        expect(took).toBeGreaterThan(300);
        for (const bulkRate of [65_535, NaN, '1000000' as unknown as number]) expect(() => new Master({ bulkRate })).toThrow(UsageError);
      },
      { bulkRate: 8 * 1024 * 1024 },
    ),
  );

  it(
    'of large values come as they are where the rate of the master is Infinity',
    withChild(
      async (kid) => {
        const [value] = await Promise.all([first(kid.call(tasks.bytes, 4 * 1024 * 1024)), ...Array.from({ length: 20 }, () => first(kid.call(tasks.nothing)))]);
        expect((value as Uint8Array).length).toBe(4 * 1024 * 1024);
      },
      { bulkRate: Infinity },
    ),
  );

  it(
    'is its source where it was made',
    async () => {
      expect(await tasks.total(stream(upTo(4)))).toBe(6);
      expect(await lastValueFrom(stream(interval(1).pipe(take(3))).pipe(toArray()))).toEqual([0, 1, 2]);
      expect(await tasks.firstOf(stream(upTo(4)))).toBe(0);
    },
  );
});
