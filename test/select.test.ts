import { describe, expect, it } from '@jest/globals';
import { EmptyError, Subject, TimeoutError, firstValueFrom, lastValueFrom, map, merge, of, take, takeUntil, timeout, toArray } from 'rxjs';
import type { Mailbox, Master } from 'tendril';
import { watchForLeaks, withTree } from './support/tree.ts';

/** Mailboxes of a master, each with the name of its number, and so many values that wait in it. */
function mailboxes(master: Master, count: number, values = 0): Mailbox<string>[] {
  return Array.from({ length: count }, (_, index) => {
    const mailbox = master.self.handle<string>(5000 + index);
    for (let value = 0; value < values; value++) mailbox.sender.next(`${String(index)}.${String(value)}`);
    return mailbox;
  });
}

// Mitogen's Select waits for the first of many sources; here sources are observables, and RxJS's operators do that.
describe('many sources at once', () => {
  watchForLeaks();

  it('can be mailboxes, calls, other merges, empty or filled, in the order of arrival (REFERENCE 102, 113)', () =>
    withTree({}, async ({ master }) => {
      const [a, b, c] = mailboxes(master, 3) as [Mailbox<string>, Mailbox<string>, Mailbox<string>];
      a.sender.next('a waits');
      const named = [a, b].map((mailbox) => mailbox.pipe(map((value) => [mailbox.number, value])));
      const got = lastValueFrom(merge(...named, merge(c.pipe(map((value) => [c.number, value])), merge())).pipe(take(3), toArray()));
      c.sender.next('c comes');
      b.sender.next('b comes');
      expect(await got).toEqual([[5000, 'a waits'], [5002, 'c comes'], [5001, 'b comes']]);
    }));

  it('give one result each where one is wanted, and go on where more are (REFERENCE 101, 108, 109)', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = mailboxes(master, 2, 2) as [Mailbox<string>, Mailbox<string>];
      expect(await lastValueFrom(merge(a.pipe(take(1)), b).pipe(take(3), toArray()))).toEqual(['0.0', '1.0', '1.1']);
      expect(a.open).toBe(false);
    }));

  it('are none: nothing comes, and who waits for a value is told at once (REFERENCE 107, 108, 110)', async () => {
    expect(await lastValueFrom(merge().pipe(toArray()))).toEqual([]);
    await expect(firstValueFrom(merge().pipe(timeout(1000)))).rejects.toThrow(EmptyError);
  });

  it('may be named twice, and in a circle they cannot be (REFERENCE 103, 104)', () =>
    withTree({}, async ({ master }) => {
      const [a] = mailboxes(master, 1) as [Mailbox<string>];
      const got = lastValueFrom(merge(a, a).pipe(take(2), toArray()));
      a.sender.next('once');
      // Observables are made of those that are there already; a mailbox gives its values to all who have subscribed.
      expect(await got).toEqual(['once', 'once']);
    }));

  it('can be left: the mailbox hears of it, and a source that is not there is not missed (REFERENCE 105)', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = mailboxes(master, 2) as [Mailbox<string>, Mailbox<string>];
      const leave = new Subject<void>();
      const got: string[] = [];
      const subscription = merge(a.pipe(takeUntil(leave)), b).subscribe((value) => got.push(value));
      leave.next();
      expect([a.open, b.open]).toEqual([false, true]);
      b.sender.next('still');
      subscription.unsubscribe();
      subscription.unsubscribe();
      expect(got).toEqual(['still']);
      expect(b.open).toBe(false);
      await Promise.resolve();
    }));

  it.each([0, 20])('time out after %d ms when nothing comes (REFERENCE 111)', (ms) =>
    withTree({}, async ({ master }) => {
      await expect(firstValueFrom(merge(...mailboxes(master, 2)).pipe(timeout(ms)))).rejects.toThrow(TimeoutError);
    }));

  it('give all that has waited before anyone subscribed, then time out (REFERENCE 112)', () =>
    withTree({}, async ({ master }) => {
      const got: string[] = [];
      const merged = merge(...mailboxes(master, 2, 3)).pipe(timeout(20));
      await expect(new Promise((_resolve, reject) => merged.subscribe({ next: (value) => got.push(value), error: reject }))).rejects.toThrow(TimeoutError);
      expect(got).toEqual(['0.0', '0.1', '0.2', '1.0', '1.1', '1.2']);
    }));

  it('that another consumer has emptied give nothing, and not something wrong (REFERENCE 114)', () =>
    withTree({}, async ({ master }) => {
      const [a] = mailboxes(master, 1, 1) as [Mailbox<string>];
      const first: string[] = [];
      const subscription = a.subscribe((value) => first.push(value));
      await expect(firstValueFrom(a.pipe(timeout(20)))).rejects.toThrow(TimeoutError);
      expect(first).toEqual(['0.0']);
      subscription.unsubscribe();
    }));

  it.each([1, 5])('end for %d who wait when the mailbox is closed (REFERENCE 100)', (count) =>
    withTree({}, async ({ master }) => {
      const [a] = mailboxes(master, 1) as [Mailbox<string>];
      const waiting = Array.from({ length: count }, () => firstValueFrom(a).catch((error: unknown) => error));
      a.close();
      for (const end of await Promise.all(waiting)) expect(end).toBeInstanceOf(EmptyError);
      expect(await lastValueFrom(merge(a, of('after')).pipe(toArray()))).toEqual(['after']);
    }));
});
