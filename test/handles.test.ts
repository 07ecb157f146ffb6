import { describe, expect, it } from '@jest/globals';
import { lastValueFrom, take, toArray } from 'rxjs';
import { ChannelError, EncodeError, anyContext } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild } from './support/tree.ts';

describe('handles', () => {
  watchForLeaks();

  it(
    'carry a conversation both ways, and complete in order (REFERENCE 86)',
    withChild(async (kid) => {
      const mailbox = kid.handle<number>(5000);
      await first(kid.call(tasks.doubleOn, 5000));
      const doubled = lastValueFrom(mailbox.pipe(toArray()));
      for (const value of [1, 2, 3]) mailbox.next(value);
      mailbox.complete();
      expect(await doubled).toEqual([2, 4, 6]);
    }),
  );

  it(
    'can be passed on as a Sender; what came before the first subscriber is not lost (REFERENCE 85, 121)',
    withChild(async (kid) => {
      const mailbox = kid.handle<number>();
      expect(mailbox.number).toBeGreaterThan(100);
      await first(kid.call(tasks.emitTo, mailbox.sender, 1000));
      expect(await lastValueFrom(mailbox.pipe(toArray()))).toEqual(Array.from({ length: 1000 }, (_, index) => index));
    }),
  );

  it(
    'overflow visibly when nobody subscribes',
    withChild(async (kid) => {
      const mailbox = kid.handle<number>(undefined, { bufferSize: 10 });
      await first(kid.call(tasks.emitTo, mailbox.sender, 11));
      const seen: number[] = [];
      const error = await new Promise((resolve) => mailbox.subscribe({ next: (value) => seen.push(value), error: resolve }));
      expect(seen).toHaveLength(10);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'mailbox-full' });
    }),
  );

  it(
    'of self take from whom the policy admits, and from nobody else (REFERENCE 9, 10)',
    withChild(async (kid, { master }) => {
      const open = master.self.handle<number>(6000, { policy: anyContext });
      const closed = master.self.handle<number>(6001);
      await first(kid.call(tasks.emitTo, open.sender, 3));
      expect(await lastValueFrom(open.pipe(toArray()))).toEqual([0, 1, 2]);
      const seen: number[] = [];
      closed.subscribe((value) => seen.push(value));
      const refused = first(master.router.events.pipe(take(1)));
      await first(kid.call(tasks.emitTo, closed.sender, 3));
      expect(await refused).toMatchObject({ type: 'message-refused', reason: 'refused-by-policy' });
      expect(seen).toEqual([]);
      closed.close();
    }),
  );

  it(
    'tell the sender that nobody listens (REFERENCE 22)',
    withChild(async (kid) => {
      const mailbox = kid.handle<number>(7000);
      const error = failure(mailbox);
      mailbox.next(1);
      expect(await error).toMatchObject({ reason: 'invalid-handle' });
      expect(await error).toBeInstanceOf(ChannelError);
    }),
  );

  it(
    'refuse to send what cannot be sent, at the sender',
    withChild((kid) => {
      const mailbox = kid.handle(7001);
      expect(() => {
        mailbox.next({ socket: Symbol('no') });
      }).toThrow(EncodeError);
      mailbox.close();
      return Promise.resolve();
    }),
  );

  it(
    'do not send what is over the limit: the log says so, and the call that tried goes on (REFERENCE 16, 18, 21)',
    withChild(
      async (kid, { logged }) => {
        const mailbox = kid.handle<Uint8Array>();
        const error = failure(mailbox);
        expect(await first(kid.call(tasks.sendBytes, mailbox.sender, 100_000))).toBe('sent');
        expect(await error).toMatchObject({ reason: 'too-large', message: expect.stringMatching(/^message too large \(\d+ bytes, max 65536 bytes\)$/) as unknown });
        const told = /^dropped a message for handle \d+: message too large \(\d+ bytes, max 65536 bytes\)$/;
        expect(await logged(({ message, context }) => context === 'kid' && told.test(message))).toMatchObject({ level: 'warn' });
        const toKid = kid.handle<Uint8Array>(7002);
        toKid.next(new Uint8Array(100_000));
        toKid.close();
        expect(await logged(({ message, context }) => context === 'self' && told.test(message))).toMatchObject({ level: 'warn' });
        expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      },
      { maxMessageSize: 65_536 },
    ),
  );

  it(
    'wait for the context to be connected, in order, together with calls',
    withChild(async (kid) => {
      const mailbox = kid.handle<number>(5001);
      const doubled = lastValueFrom(mailbox.pipe(toArray()));
      const called = first(kid.call(tasks.doubleOn, 5001));
      mailbox.next(21);
      mailbox.complete();
      await called;
      expect(await doubled).toEqual([42]);
    }),
  );

  it(
    'complete when their context is shut down',
    withChild(async (kid) => {
      const values = lastValueFrom(kid.handle<number>(5002).pipe(toArray()));
      await first(kid.connected);
      await kid.shutdown();
      expect(await values).toEqual([]);
    }),
  );
});

describe('handles that go wrong', () => {
  watchForLeaks();

  it(
    'a policy admits others than the context of the conversation',
    withChild(async (kid, { master }) => {
      const other = master.local();
      const mailbox = kid.handle<number>(undefined, { policy: anyContext });
      await first(other.call(tasks.emitTo, mailbox.sender, 3));
      expect(await lastValueFrom(mailbox.pipe(toArray()))).toEqual([0, 1, 2]);
    }),
  );

  it(
    'the numbers of the library are refused',
    withChild((kid) => {
      for (const number of [100, 102, 115, 999, 0, -1, 2 ** 32, Number.NaN]) expect(() => kid.handle(number)).toThrow(/not a handle/);
      return Promise.resolve();
    }),
  );

  it(
    'made after its context has gone fails at once',
    withChild(async (kid) => {
      await first(kid.connected);
      await kid.shutdown();
      expect(await failure(kid.handle(5000))).toMatchObject({ reason: 'respondent-gone' });
    }),
  );
});
