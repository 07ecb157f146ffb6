import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ChannelError } from '../src/core/errors.ts';
import { Mailbox } from '../src/core/mailbox/mailbox.ts';
import { anyContext } from '../src/core/mailbox/policy.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import { check } from './support.ts';

const HANDLE = 3000;

function pair(seed: number): VirtualTree {
  return new VirtualTree({ shape: [0], seed, volatile: seed % 2 === 0 });
}

describe('mailboxes', () => {
  it('give the first subscriber everything, in the order of sending, also what subscribers send meanwhile', () => {
    /** What the first subscriber does when it gets a value of this number: sends, subscribes another, which may leave again. */
    const reaction = fc.record({ at: fc.nat(30), sends: fc.nat(3), subscribes: fc.boolean(), leavesAfter: fc.option(fc.nat(3)) });
    const step = fc.constantFrom('send', 'send', 'subscribe');
    check(
      fc.property(fc.array(step, { maxLength: 20 }), fc.array(reaction, { maxLength: 8 }), (steps, reactions) => {
        const tree = new VirtualTree({ shape: [] });
        const mailbox = new Mailbox<number>(tree.node(0).scope, 0, HANDLE);
        const sent: number[] = [];
        const send = (): void => {
          sent.push(sent.length);
          mailbox.next(sent.length - 1);
        };
        const first: number[] = [];
        const others: { from: number; got: number[]; left: boolean }[] = [];
        const subscribeOther = (leavesAfter: number | null): void => {
          const other = { from: first.length, got: [] as number[], left: false };
          others.push(other);
          const subscription = mailbox.subscribe((value) => {
            other.got.push(value);
            if (leavesAfter === null || other.got.length <= leavesAfter) return;
            other.left = true;
            subscription.unsubscribe();
          });
        };
        let subscribed = false;
        const subscribe = (): void => {
          if (subscribed) {
            subscribeOther(null);
            return;
          }
          subscribed = true;
          mailbox.subscribe((value) => {
            first.push(value);
            for (const { sends, subscribes, leavesAfter } of reactions.filter(({ at }) => at === value)) {
              for (let count = 0; count < sends; count++) send();
              if (subscribes) subscribeOther(leavesAfter);
            }
          });
        };
        for (const each of steps) (each === 'send' ? send : subscribe)();
        subscribe();
        expect(first).toEqual(sent);
        for (const { from, got, left } of others) expect(got).toEqual(left ? sent.slice(from, from + got.length) : sent.slice(from));
        expect(tree.faults).toEqual([]);
      }),
      300,
    );
  });

  it('give everything in order over a connection, whenever the first subscriber comes', () => {
    check(
      fc.property(fc.nat(), fc.array(fc.nat(30), { maxLength: 30 }), fc.nat(60), fc.boolean(), (seed, times, subscribeAt, completes) => {
        const tree = pair(seed);
        const [here, there] = [tree.node(0), tree.node(1)];
        const receiving = new Mailbox<number>(here.scope, 1, HANDLE);
        const sending = new Mailbox<number>(there.scope, 0, HANDLE);
        const got: (number | string)[] = [];
        const sorted = [...times].sort((a, b) => a - b);
        sorted.forEach((at, index) => tree.broker.after(at, () => { sending.next(index); }));
        if (completes) tree.broker.after(31, () => { sending.complete(); });
        tree.broker.after(subscribeAt, () => {
          receiving.subscribe({ next: (value) => got.push(value), complete: () => got.push('complete') });
        });
        tree.broker.run();
        tree.check(() => {
          expect(got).toEqual([...sorted.keys(), ...(completes ? ['complete'] : [])]);
        });
      }),
    );
  });

  it('say so when more came than waits for the first subscriber, at both ends, and give what has waited first', () => {
    check(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 20 }), fc.nat(40), (seed, bufferSize, count) => {
        const tree = pair(seed);
        const receiving = new Mailbox<number>(tree.node(0).scope, 1, HANDLE, { bufferSize });
        const sending = new Mailbox<number>(tree.node(1).scope, 0, HANDLE);
        const refused: unknown[] = [];
        sending.subscribe({ error: (error) => refused.push(error) });
        for (let value = 0; value < count; value++) sending.next(value);
        tree.broker.run();
        const got: number[] = [];
        const errors: unknown[] = [];
        receiving.subscribe({ next: (value) => got.push(value), error: (error) => errors.push(error) });
        tree.broker.run();
        const all = Array.from({ length: count }, (_, value) => value);
        tree.check(() => {
          expect(got).toEqual(all.slice(0, bufferSize));
          for (const side of [errors, refused]) {
            expect(side.length).toBe(count > bufferSize ? 1 : 0);
            for (const error of side) expect(error).toMatchObject({ reason: 'mailbox-full' });
            for (const error of side) expect(error).toBeInstanceOf(ChannelError);
          }
        });
      }),
    );
  });

  it('let a subscriber that throws harm itself only', () => {
    check(
      fc.property(fc.nat(), fc.array(fc.option(fc.nat(10)), { minLength: 1, maxLength: 6 }), fc.integer({ min: 1, max: 12 }), (seed, throwsAt, count) => {
        const tree = pair(seed);
        const mailbox = new Mailbox<number>(tree.node(0).scope, 0, HANDLE, { policy: anyContext });
        const subscribers = throwsAt.map((at) => {
          const got: number[] = [];
          mailbox.subscribe((value) => {
            got.push(value);
            if (value === at) throw new Error(`at ${String(at)}`);
          });
          return { at, got };
        });
        // One that stays, or the mailbox would close with the last one.
        const stays: number[] = [];
        mailbox.subscribe((value) => stays.push(value));
        const sender = tree.node(1);
        const remote = new Mailbox<number>(sender.scope, 0, HANDLE);
        for (let value = 0; value < count; value++) remote.next(value);
        tree.broker.run();
        const all = Array.from({ length: count }, (_, value) => value);
        expect(stays).toEqual(all);
        for (const { at, got } of subscribers) expect(got).toEqual(at === null ? all : all.slice(0, at + 1));
        const thrown = throwsAt.filter((at) => at !== null && at < count).map((at) => `at ${String(at)}`);
        expect(tree.faults.map(({ error }) => (error as Error).message).sort()).toEqual(thrown.sort());
        expect(tree.faults.every(({ where }) => where === `subscriber of handle ${String(HANDLE)}`)).toBe(true);
      }),
    );
  });
});
