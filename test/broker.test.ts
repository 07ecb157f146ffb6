import { describe, expect, it } from '@jest/globals';
import { TimeoutError, concat, delay, from, interval, lastValueFrom, map, NEVER, observeOn, of, scheduled, take, timeout, timer, toArray } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Broker, Fault, Link } from '../src/core/broker/broker.ts';
import { NodeBroker } from '../src/core/broker/node-broker.ts';
import { seededRandom, seededSplitter } from '../src/core/broker/seeded.ts';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import { virtualLinks } from '../src/core/broker/virtual-link.ts';
import { UsageError } from '../src/core/errors.ts';

interface Kind {
  readonly broker: Broker;
  /** Lets everything happen that is under way, up to the end of `source`. */
  finish<T>(source: Observable<T>): Promise<T[]>;
}

const KINDS: Readonly<Record<string, () => Kind>> = {
  NodeBroker: () => ({ broker: new NodeBroker(), finish: (source) => lastValueFrom(source.pipe(toArray())) }),
  VirtualBroker: () => {
    const broker = new VirtualBroker();
    return {
      broker,
      finish: (source) => {
        const values = lastValueFrom(source.pipe(toArray()));
        broker.run();
        return values;
      },
    };
  },
};

function faultsOf(broker: Broker): Fault[] {
  const faults: Fault[] = [];
  broker.faults.subscribe((fault) => faults.push(fault));
  return faults;
}

describe.each(Object.entries(KINDS))('%s', (_name, make) => {
  it('is a scheduler for interval, timer, delay and observeOn', async () => {
    const { broker, finish } = make();
    expect(await finish(interval(2, broker).pipe(take(4)))).toEqual([0, 1, 2, 3]);
    expect(await finish(timer(1, 1, broker).pipe(take(3)))).toEqual([0, 1, 2]);
    expect(await finish(of('a', 'b').pipe(delay(2, broker)))).toEqual(['a', 'b']);
    expect(await finish(from([1, 2, 3]).pipe(observeOn(broker), map((value) => value * 2)))).toEqual([2, 4, 6]);
    expect(await finish(scheduled([1, 2, 3], broker))).toEqual([1, 2, 3]);
  });

  it('is a scheduler for timeout', async () => {
    const { broker, finish } = make();
    await expect(finish(NEVER.pipe(timeout({ first: 3, scheduler: broker })))).rejects.toBeInstanceOf(TimeoutError);
    expect(await finish(concat(of(1), of(2).pipe(delay(1, broker))).pipe(timeout({ each: 60_000, scheduler: broker })))).toEqual([1, 2]);
  });

  it('fires no timer before its time, and in the order of their times (REFERENCE 207, 208)', async () => {
    const { broker, finish } = make();
    const fired: number[] = [];
    const begun = broker.now();
    const times = [9, 3, 6, 3].map((delayMs) => {
      const done = new Promise<number>((resolve) => {
        broker.after(delayMs, () => {
          fired.push(delayMs);
          resolve(broker.now() - begun);
        });
      });
      return { delayMs, done };
    });
    await finish(timer(12, broker));
    expect(fired).toEqual([3, 3, 6, 9]);
    // libuv counts in whole milliseconds.
    for (const { delayMs, done } of times) expect(await done).toBeGreaterThanOrEqual(delayMs - 1);
  });

  it('does not fire what was cancelled, also from another timer, and cancels twice without harm (REFERENCE 206, 207)', async () => {
    const { broker, finish } = make();
    const fired: string[] = [];
    const cancelled = broker.after(4, () => fired.push('cancelled'));
    broker.after(1, () => {
      fired.push('first');
      cancelled.unsubscribe();
      cancelled.unsubscribe();
    });
    broker.after(0, () => fired.push('at once')).unsubscribe();
    await finish(timer(8, broker));
    expect(fired).toEqual(['first']);
    expect(cancelled.closed).toBe(true);
  });

  it('does not fire at once a timer that is longer than Node can make one', async () => {
    const { broker } = make();
    const fired: string[] = [];
    const long = [2 ** 31, 2 ** 40, Infinity].map((delayMs) => broker.after(delayMs, () => fired.push('long')));
    const short = new Promise((resolve) => {
      broker.after(5, () => { resolve(fired.push('short')); });
    });
    if (broker instanceof VirtualBroker) broker.advance(10);
    await short;
    for (const each of long) each.unsubscribe();
    expect(fired).toEqual(['short']);
  });

  it('reports work that throws, wherever it runs, and goes on: there is nothing to crash (REFERENCE 11, 247)', async () => {
    const { broker, finish } = make();
    const faults = faultsOf(broker);
    const ran: string[] = [];
    broker.after(1, () => { throw new Error('after'); });
    broker.schedule(() => { throw new Error('scheduled'); }, 1);
    broker.defer(() => { throw new Error('deferred'); });
    broker.defer(() => ran.push('deferred'));
    broker.after(1, () => ran.push('after'));
    await finish(timer(4, broker));
    expect(ran).toEqual(['deferred', 'after']);
    expect(faults.map(({ error, where }) => [(error as Error).message, where])).toEqual([
      ['deferred', 'deferred work'],
      ['after', 'scheduled work'],
      ['scheduled', 'scheduled work'],
    ]);
  });

  it('stops repeating work that throws', async () => {
    const { broker, finish } = make();
    const faults = faultsOf(broker);
    let runs = 0;
    broker.schedule(function () {
      runs++;
      this.schedule(undefined, 1);
      if (runs === 2) throw new Error('enough');
    }, 1);
    await finish(timer(10, broker));
    expect([runs, faults.length]).toEqual([2, 1]);
  });

  it('runs deferred work in order, before any timer, what it defers itself included', async () => {
    const { broker, finish } = make();
    const order: string[] = [];
    broker.after(0, () => order.push('timer'));
    broker.defer(() => {
      order.push('first');
      broker.defer(() => order.push('third'));
    });
    broker.defer(() => order.push('second'));
    await finish(timer(2, broker));
    expect(order).toEqual(['first', 'second', 'third', 'timer']);
  });

  it('reports without an owner, and with nobody listening', () => {
    const { report } = make().broker;
    expect(() => { report(new Error('x'), 'nowhere'); }).not.toThrow();
  });
});

describe('VirtualBroker', () => {
  it('moves its time only when told to, exactly', () => {
    const broker = new VirtualBroker();
    const fired: number[] = [];
    for (const delayMs of [10, 20, 30]) broker.after(delayMs, () => fired.push(broker.now()));
    expect(broker.now()).toBe(0);
    broker.advance(20);
    expect([fired, broker.now(), broker.pending]).toEqual([[10, 20], 20, 1]);
    broker.advance(5);
    expect(broker.now()).toBe(25);
    broker.run();
    expect([fired, broker.now(), broker.pending]).toEqual([[10, 20, 30], 30, 0]);
  });

  it('keeps the order of asking within one moment, and runs what is deferred at the end of each turn', () => {
    const broker = new VirtualBroker();
    const order: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      broker.after(5, () => {
        broker.defer(() => order.push(`${name}, end of turn`));
        broker.after(0, () => order.push(`${name}, later`));
        order.push(name);
      });
    }
    broker.run();
    expect(order).toEqual(['a', 'a, end of turn', 'b', 'b, end of turn', 'c', 'c, end of turn', 'a, later', 'b, later', 'c, later']);
  });

  it('does the same in every run', () => {
    const program = (): string => {
      const broker = new VirtualBroker();
      const random = seededRandom(42);
      const log: string[] = [];
      const spawn = (depth: number, name: string): void => {
        broker.after(Math.floor(random() * 5), () => {
          log.push(`${String(broker.now())} ${name}`);
          if (depth > 0) for (const child of ['l', 'r']) spawn(depth - 1, name + child);
        });
      };
      spawn(5, '');
      broker.run();
      return log.join();
    };
    expect(program()).toBe(program());
  });

  it('says so when the work never ends, in time or within a moment', () => {
    const endless = new VirtualBroker();
    interval(1, endless).subscribe();
    expect(() => { endless.run(1000); }).toThrow(UsageError);
    const busy = new VirtualBroker();
    const again = (): void => { busy.defer(again); };
    again();
    expect(() => { busy.run(1000); }).toThrow(/did not come to rest within 1000 turns/);
  });

  it('refuses to be moved by its own work, as a fault', () => {
    const broker = new VirtualBroker();
    const faults = faultsOf(broker);
    broker.after(1, () => { broker.run(); });
    broker.run();
    expect(faults).toEqual([{ error: expect.any(UsageError), where: 'scheduled work' }]);
    broker.after(1, () => undefined);
    broker.run();
    expect(broker.now()).toBe(2);
  });
});

/** What arrives at a link: its bytes as text, chunk by chunk, and how it ended. */
function read(link: Link): { chunks: string[]; end: unknown } {
  const found: { chunks: string[]; end: unknown } = { chunks: [], end: undefined };
  link.chunks.subscribe({
    next: (chunk) => found.chunks.push(Buffer.from(chunk).toString('latin1')),
    error: (error: unknown) => { found.end = error; },
    complete: () => { found.end = 'complete'; },
  });
  return found;
}

const text = (value: string): Uint8Array[] => [Buffer.from(value, 'latin1')];

describe('virtualLinks', () => {
  it('carries bytes both ways, after their latency, and in order when it changes', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { latencyMs: 10 });
    const [left, right] = [read(links.left), read(links.right)];
    links.left.write(text('slow '));
    links.latencyMs = 1;
    links.left.write(text('fast'));
    links.right.write(text('back'));
    broker.advance(9);
    expect([left.chunks, right.chunks.join('')]).toEqual([['back'], '']);
    broker.advance(1);
    expect(right.chunks.join('')).toBe('slow fast');
  });

  it('copies what is written, so that the writer may use its memory again', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker);
    const right = read(links.right);
    const memory = Buffer.from('good');
    links.left.write([memory]);
    memory.fill('x');
    broker.run();
    expect(right.chunks).toEqual(['good']);
  });

  it('cuts and joins as its splitter says, the same for the same seed', () => {
    const run = (seed: number): string[] => {
      const broker = new VirtualBroker();
      const links = virtualLinks(broker, { split: seededSplitter(seed, 5) });
      const right = read(links.right);
      for (const word of ['one ', 'two ', 'three ', 'four']) links.left.write(text(word));
      broker.run();
      expect(right.chunks.join('')).toBe('one two three four');
      return right.chunks;
    };
    expect(run(7)).toEqual(run(7));
    expect(run(7)).not.toEqual(run(8));
    expect(Math.max(...run(7).map(({ length }) => length))).toBeLessThanOrEqual(5);
  });

  it('destroys a volatile chunk after its delivery', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { volatile: true, readBufferSize: 4 });
    const kept: Uint8Array[] = [];
    links.right.chunks.subscribe((chunk) => {
      expect(Buffer.from(chunk).toString()).toMatch(/^(abcd|ef)$/);
      kept.push(chunk);
    });
    links.left.write(text('abcdef'));
    broker.run();
    expect(links.right.volatile).toBe(true);
    expect(kept.map((chunk) => chunk.every((byte) => byte === 0xee))).toEqual([true, true]);
  });

  it('ends one direction behind its last byte, and leaves the other open', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { latencyMs: 5, split: () => 1 });
    const [left, right] = [read(links.left), read(links.right)];
    links.left.write(text('bye'));
    links.left.end();
    links.left.write(text('too late'));
    broker.run();
    expect(right).toEqual({ chunks: ['b', 'y', 'e'], end: 'complete' });
    links.right.write(text('ok'));
    broker.run();
    expect(left).toEqual({ chunks: ['o', 'k'], end: undefined });
  });

  it('brings what a peer wrote before it was destroyed, then the end', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { latencyMs: 5 });
    const [left, right] = [read(links.left), read(links.right)];
    links.right.write(text('for nobody'));
    links.left.write(text('last words'));
    links.left.destroy();
    broker.run();
    expect(right).toEqual({ chunks: ['last words'], end: 'complete' });
    expect(left).toEqual({ chunks: [], end: 'complete' });
    links.right.write(text('x'));
    broker.run();
    expect(left.chunks).toEqual([]);
  });

  it.each([undefined, new Error('the cable')])('loses the connection at a time, with what is on the way: %s', (lossError) => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { latencyMs: 5, loseAfterMs: 10, ...(lossError && { lossError }) });
    const [left, right] = [read(links.left), read(links.right)];
    links.left.write(text('arrives'));
    broker.after(6, () => { links.left.write(text('is lost')); });
    broker.run();
    const end = lossError ?? 'complete';
    expect([left, right]).toEqual([{ chunks: [], end }, { chunks: ['arrives'], end }]);
    expect([links.lost, links.deliveredBytes]).toEqual([true, 7]);
    links.left.write(text('x'));
    broker.run();
    expect(right.chunks).toEqual(['arrives']);
  });

  it('loses the connection after a number of bytes, of both directions', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { loseAfterBytes: 5 });
    const [left, right] = [read(links.left), read(links.right)];
    links.left.write(text('abc'));
    broker.run();
    links.right.write(text('defg'));
    broker.run();
    expect([left, right]).toEqual([{ chunks: ['de'], end: 'complete' }, { chunks: ['abc'], end: 'complete' }]);
  });

  it('keeps bytes for a reader that comes later, and while there is none', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker);
    links.left.write(text('early'));
    broker.run();
    const got: string[] = [];
    const first = links.right.chunks.subscribe((chunk) => got.push(Buffer.from(chunk).toString()));
    broker.run();
    first.unsubscribe();
    links.left.write(text('between'));
    broker.run();
    expect(got).toEqual(['early']);
    const second = read(links.right);
    broker.run();
    expect([got, second.chunks, broker.pending]).toEqual([['early'], ['between'], 0]);
  });

  it('has nothing pending, as what is written is taken at once, unless it is told otherwise', () => {
    const broker = new VirtualBroker();
    const seen: unknown[] = [];
    for (const takeMs of [0, 4]) {
      const links = virtualLinks(broker, { takeMs });
      links.left.write(text('abc'));
      links.left.write(text('de'));
      links.left.drained.subscribe(() => seen.push(broker.now()));
      seen.push(links.left.pendingBytes);
      links.left.end();
      const right = read(links.right);
      broker.run();
      expect([right.chunks.join(''), right.end, links.left.pendingBytes]).toEqual(['abcde', 'complete', 0]);
    }
    expect(seen).toEqual([0, 0, 5, 4]);
  });

  it('loses what is pending when its writer closes', () => {
    const broker = new VirtualBroker();
    const links = virtualLinks(broker, { takeMs: 4 });
    const right = read(links.right);
    links.left.write(text('taken'));
    broker.advance(4);
    links.left.write(text('pending'));
    links.left.destroy();
    broker.run();
    expect(right).toEqual({ chunks: ['taken'], end: 'complete' });
  });
});
