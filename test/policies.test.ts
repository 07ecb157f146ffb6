import { describe, expect, it } from '@jest/globals';
import { NEVER, Subject, lastValueFrom, of, range, throwError, toArray } from 'rxjs';
import type { Observable, OperatorFunction } from 'rxjs';
import { eachBatch, eachBuffered, eachLatest, eachOrDrop, onDemand } from 'tendril';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import * as policed from './fixtures/policed.ts';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild } from './support/tree.ts';

/** A projection whose end a test decides. */
class Work<T> {
  readonly begun: T[] = [];
  readonly #ends: (() => void)[] = [];

  readonly project = (value: T): Promise<T> => {
    this.begun.push(value);
    return new Promise((resolve) => { this.#ends.push(() => { resolve(value); }); });
  };

  async finish(count = 1): Promise<void> {
    for (let each = 0; each < count; each++) {
      this.#ends.shift()?.();
      await new Promise((resolve) => { setImmediate(resolve); });
    }
  }
}

interface Watched<T> {
  readonly seen: (T | Error | 'complete')[];
  readonly stop: () => void;
}

function watch<T>(source: Observable<T>): Watched<T> {
  const seen: (T | Error | 'complete')[] = [];
  const subscription = source.subscribe({ next: (value) => seen.push(value), error: (error: unknown) => seen.push(error as Error), complete: () => seen.push('complete') });
  return { seen, stop: () => { subscription.unsubscribe(); } };
}

describe('policies', () => {
  watchForLeaks();

  it('eachBuffered works on every value, as many at a time as asked', async () => {
    const work = new Work<number>();
    const { seen } = watch(range(0, 5).pipe(eachBuffered(work.project, { concurrency: 2 })));
    expect(work.begun).toEqual([0, 1]);
    await work.finish();
    expect([work.begun, seen]).toEqual([[0, 1, 2], [0]]);
    await work.finish(4);
    expect(seen).toEqual([0, 1, 2, 3, 4, 'complete']);
  });

  it('eachBuffered errors when more waits than may, and leaves the source', () => {
    const source = new Subject<number>();
    const { seen } = watch(source.pipe(eachBuffered(() => NEVER, { size: 3 })));
    for (let value = 0; value < 3; value++) source.next(value);
    expect(seen).toEqual([]);
    source.next(3);
    expect(seen).toEqual([expect.objectContaining({ code: 'ERR_TENDRIL_OVERFLOW' })]);
    expect(source.observed).toBe(false);
  });

  it('eachLatest works on the newest value next, and on the last', async () => {
    const source = new Subject<number>();
    const work = new Work<number>();
    const { seen } = watch(source.pipe(eachLatest(work.project)));
    for (let value = 0; value < 4; value++) source.next(value);
    await work.finish();
    expect(work.begun).toEqual([0, 3]);
    source.next(4);
    source.next(5);
    source.complete();
    await work.finish(2);
    expect([work.begun, seen]).toEqual([[0, 3, 5], [0, 3, 5, 'complete']]);
  });

  it('eachOrDrop counts what it drops', async () => {
    const source = new Subject<number>();
    const work = new Work<number>();
    const dropped: number[] = [];
    const { seen } = watch(source.pipe(eachOrDrop(work.project, { dropped: (count) => dropped.push(count) })));
    for (let value = 0; value < 4; value++) source.next(value);
    await work.finish();
    source.next(4);
    source.complete();
    await work.finish();
    expect([dropped, seen]).toEqual([[1, 2, 3], [0, 4, 'complete']]);
    const counts = new Subject<number>();
    const counted = watch(counts);
    watch(of(1, 2).pipe(eachOrDrop(() => NEVER, { dropped: counts }))).stop();
    expect(counted.seen).toEqual([1]);
  });

  it('eachBatch works on full batches, on what is there when its time is up, and on the rest', async () => {
    const broker = new VirtualBroker();
    const source = new Subject<number>();
    const work = new Work<readonly number[]>();
    const { seen } = watch(source.pipe(eachBatch(work.project, { size: 3, ms: 10, scheduler: broker })));
    source.next(0);
    broker.advance(9);
    expect(work.begun).toEqual([]);
    broker.advance(1);
    expect(work.begun).toEqual([[0]]);
    for (let value = 1; value < 9; value++) source.next(value);
    expect(work.begun).toEqual([[0]]);
    await work.finish();
    expect(work.begun).toEqual([[0], [1, 2, 3]]);
    await work.finish();
    expect(work.begun).toEqual([[0], [1, 2, 3], [4, 5, 6]]);
    source.complete();
    await work.finish(2);
    expect(seen).toEqual([[0], [1, 2, 3], [4, 5, 6], [7, 8], 'complete']);
    expect(broker.pending).toBe(0);
  });

  it('eachBatch leaves no timer when it is left', () => {
    const broker = new VirtualBroker();
    const { stop } = watch(new Subject<number>().pipe(eachBatch(() => 1, { ms: 10, scheduler: broker })));
    stop();
    const source = new Subject<number>();
    const other = watch(source.pipe(eachBatch(() => 1, { ms: 10, scheduler: broker })));
    source.next(1);
    expect(broker.pending).toBe(1);
    other.stop();
    expect(broker.pending).toBe(0);
  });

  it('onDemand passes on what is asked for', () => {
    const source = new Subject<number>();
    const demand = new Subject<number>();
    const { seen } = watch(source.pipe(onDemand(demand, { size: 4 })));
    for (let value = 0; value < 3; value++) source.next(value);
    expect(seen).toEqual([]);
    demand.next(2);
    expect(seen).toEqual([0, 1]);
    demand.next(2);
    source.next(3);
    expect(seen).toEqual([0, 1, 2, 3]);
    for (let value = 4; value < 9; value++) source.next(value);
    expect(seen.at(-1)).toMatchObject({ code: 'ERR_TENDRIL_OVERFLOW' });
    expect([source.observed, demand.observed]).toEqual([false, false]);
  });

  const POLICIES: Readonly<Record<string, (project: (value: unknown) => Promise<number>) => OperatorFunction<number, unknown>>> = { eachBuffered, eachLatest, eachOrDrop, eachBatch: (project) => eachBatch(project) };

  it.each(Object.entries(POLICIES))('%s passes errors on, of the source and of the projection, and copes with projections that are over at once', async (_name, policy) => {
    expect(await failure(throwError(() => new Error('source')).pipe(policy(() => Promise.resolve(1))))).toMatchObject({ message: 'source' });
    expect(await failure(of(1).pipe(policy(() => Promise.reject(new Error('later')))))).toMatchObject({ message: 'later' });
    expect(await failure(of(1).pipe(policy(() => { throw new Error('at once'); })))).toMatchObject({ message: 'at once' });
    expect(await lastValueFrom(range(0, 300_000).pipe(policy(((): number => 1) as never), toArray()))).not.toEqual([]);
    const source = new Subject<number>();
    watch(source.pipe(policy(() => new Promise(() => undefined)))).stop();
    expect(source.observed).toBe(false);
  });

  it.each(['eachBuffered', 'eachBatch', 'onDemand'] as const)('%s holds a remote producer back', (name) =>
    withChild(async (kid) => {
      const work = new Work<unknown>();
      const demand = new Subject<number>();
      const policy = { eachBuffered: eachBuffered(work.project, { size: 8 }), eachBatch: eachBatch(work.project, { size: 8 }), onDemand: onDemand<number>(demand, { size: 8 }) }[name] as OperatorFunction<number, unknown>;
      const { stop } = watch(kid.with({ window: { values: 8 } }).call(tasks.endless).pipe(policy));
      let pulled = -1;
      for (let now = 0; now > pulled; now = await first(kid.call(tasks.pulledSoFar))) {
        pulled = now;
        for (let each = 0; each < 5; each++) await first(kid.call(tasks.nothing));
      }
      // A batch that is worked on, one that is full, and a window.
      expect(pulled).toBeLessThanOrEqual(name === 'eachBatch' ? 25 : 9);
      demand.next(4);
      await work.finish(4);
      let later = pulled;
      for (let turn = 0; turn < 2000 && later === pulled; turn++) later = await first(kid.call(tasks.pulledSoFar));
      expect(later).toBeGreaterThan(pulled);
      stop();
    })());

  it(
    'work in a child as well',
    withChild(async (kid) => {
      expect(await first(kid.call(policed.batched, 1000))).toEqual([400, 400, 200]);
      expect(await first(kid.call(policed.summed, 1000))).toBe(499_500);
    }),
  );
});
