import { describe, expect, it } from '@jest/globals';
import { map, take, toArray } from 'rxjs';
import { invoke } from '../src/core/call/invoke.ts';
import { Context, createReviver } from '../src/core/context.ts';
import type { ContextScope } from '../src/core/context.ts';
import { ChannelError, DecodeError, EncodeError, UsageError } from '../src/core/errors.ts';
import type { Mailbox } from '../src/core/mailbox/mailbox.ts';
import { anyContext } from '../src/core/mailbox/policy.ts';
import { Sender } from '../src/core/mailbox/sender.ts';
import { FIRST_DYNAMIC_HANDLE } from '../src/core/wire/handles.ts';
import { VirtualTree } from './support/virtual-tree.ts';
import type { VirtualNode } from './support/virtual-tree.ts';

const HANDLE = 3000;

/** `node`'s view of the context `id`. */
function contextAt(node: VirtualNode, id: number): Context {
  const scope: ContextScope = {
    router: node.router,
    reviver: createReviver(node.router, (other, name) => new Context(scope, other, name)),
    find: () => { throw new Error('no functions here'); },
    open: () => { throw new Error('no modules here'); },
    invoke,
  };
  return new Context(scope, id, `c${String(id)}`);
}

/** What a subscriber sees, as a list that grows. */
function watch(mailbox: Mailbox): unknown[] {
  const seen: unknown[] = [];
  mailbox.subscribe({ next: (value) => seen.push(value), error: (error: unknown) => seen.push(error), complete: () => seen.push('complete') });
  return seen;
}

/** Both ends of a conversation between master and child. */
function conversation(): { tree: VirtualTree; here: Mailbox; there: Mailbox } {
  const tree = new VirtualTree({ shape: [0] });
  return { tree, here: contextAt(tree.node(0), 1).handle(HANDLE), there: contextAt(tree.node(1), 0).handle(HANDLE) };
}

describe('a mailbox', () => {
  it('gets a random handle when none is named, and receives what is sent to it (REFERENCE 85)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const mailbox = contextAt(tree.node(0), 0).handle(undefined, { policy: anyContext });
    expect(mailbox.number).toBeGreaterThanOrEqual(FIRST_DYNAMIC_HANDLE);
    const seen = watch(mailbox);
    contextAt(tree.node(1), 0).handle(mailbox.number).next({ hello: 1 });
    tree.broker.run();
    expect(seen).toEqual([{ hello: 1 }]);
  });

  it('gives values until the other side completes, then completes (REFERENCE 86, 90)', () => {
    const { tree, here, there } = conversation();
    const seen = watch(here);
    for (const value of [1, 'two', { three: [3n] }]) there.next(value);
    there.complete();
    tree.broker.run();
    expect(seen).toEqual([1, 'two', { three: [3n] }, 'complete']);
  });

  it('completes without a value when it is closed here (REFERENCE 87), for all its subscribers (REFERENCE 89)', () => {
    const { tree, here } = conversation();
    const { handleCount } = tree.node(0).router;
    const all = Array.from({ length: 5 }, () => watch(here));
    here.close();
    expect(all).toEqual(Array.from({ length: 5 }, () => ['complete']));
    expect(tree.node(0).router.handleCount).toBe(handleCount - 1);
    expect(watch(here)).toEqual(['complete']);
  });

  it('errors with the text of the other side (REFERENCE 88)', () => {
    const { tree, here, there } = conversation();
    const all = Array.from({ length: 5 }, () => watch(here));
    there.error(new TypeError('the disk is full'));
    tree.broker.run();
    for (const seen of all) expect(seen).toEqual([expect.objectContaining({ code: 'ERR_TENDRIL_CHANNEL', reason: 'error', message: 'the disk is full' })]);
    for (const seen of all) expect(seen[0]).toBeInstanceOf(ChannelError);
  });

  it('errors with a long text without harm to the connection', () => {
    const tree = new VirtualTree({ shape: [0], maxMessageSize: 2048 });
    const seen = watch(contextAt(tree.node(0), 1).handle(HANDLE));
    contextAt(tree.node(1), 0).handle(HANDLE).error(new Error('x'.repeat(100_000)));
    tree.broker.run();
    expect(seen).toEqual([expect.objectContaining({ reason: 'error', message: expect.stringMatching(/^x{1000}/) })]);
    expect(tree.node(1).alive).toBe(true);
  });

  it('errors when the context at the other end is lost', () => {
    const { tree, here } = conversation();
    const seen = watch(here);
    tree.node(1).uplink?.lose();
    tree.broker.run();
    expect(seen).toEqual([expect.objectContaining({ reason: 'respondent-gone' })]);
  });

  it('completes at the shutdown of its own context (REFERENCE 12)', () => {
    const { tree, here } = conversation();
    const seen = watch(here);
    tree.node(0).router.close();
    expect(seen).toEqual(['complete']);
  });

  it('tells its sender, as an error, when nobody answers there (REFERENCE 22)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const mailbox = contextAt(tree.node(0), 1).handle(HANDLE);
    const seen = watch(mailbox);
    mailbox.next('anyone?');
    tree.broker.run();
    expect(seen).toEqual([expect.objectContaining({ reason: 'invalid-handle' })]);
  });

  it('tells its sender when there is no such context (REFERENCE 23)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const mailbox = contextAt(tree.node(0), 1234).handle(HANDLE);
    const seen = watch(mailbox);
    mailbox.next('anyone?');
    expect(seen).toEqual([expect.objectContaining({ reason: 'no-route', message: 'no route to 1234, my ID is 0' })]);
  });

  it('tells its sender when the policy there refuses (REFERENCE 10)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const refusing = contextAt(tree.node(1), 1).handle(HANDLE, { policy: () => false });
    const mailbox = contextAt(tree.node(0), 1).handle(HANDLE);
    const seen = watch(mailbox);
    mailbox.next('please');
    tree.broker.run();
    expect(seen).toEqual([expect.objectContaining({ reason: 'refused-by-policy' })]);
    refusing.close();
  });

  it('admits only the context that the conversation is with (REFERENCE 245)', () => {
    const tree = new VirtualTree({ shape: [0, 0] });
    const seen = watch(contextAt(tree.node(0), 1).handle(HANDLE));
    const stranger = contextAt(tree.node(2), 0).handle(HANDLE);
    const answer = watch(stranger);
    stranger.next('let me in');
    contextAt(tree.node(1), 0).handle(HANDLE).next('me');
    tree.broker.run();
    expect(seen).toEqual(['me']);
    expect(answer).toEqual([expect.objectContaining({ reason: 'invalid-handle' })]);
  });

  it('has several conversations on one number, one with each context, and one for all others', () => {
    const tree = new VirtualTree({ shape: [0, 0, 0] });
    const root = tree.node(0);
    const one = watch(contextAt(root, 1).handle(HANDLE));
    const two = watch(contextAt(root, 2).handle(HANDLE));
    const rest = watch(contextAt(root, 0).handle(HANDLE, { policy: anyContext }));
    for (const id of [1, 2, 3]) contextAt(tree.node(id), 0).handle(HANDLE).next(id);
    tree.broker.run();
    expect([one, two, rest]).toEqual([[1], [2], [3]]);
  });

  it('is the same object for the same number while it is open, and a new one after it (REFERENCE 14)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const context = contextAt(tree.node(0), 1);
    const first = context.handle(HANDLE);
    expect(context.handle(HANDLE)).toBe(first);
    first.close();
    const second = context.handle(HANDLE);
    expect(second).not.toBe(first);
    const seen = watch(second);
    contextAt(tree.node(1), 0).handle(HANDLE).next('again');
    tree.broker.run();
    expect(seen).toEqual(['again']);
  });

  it('gives its handle up with the last subscriber, and takes it again with the next', () => {
    const { tree, here, there } = conversation();
    const before = tree.node(0).router.handleCount;
    const first: unknown[] = [];
    here.pipe(take(1), toArray()).subscribe((values) => first.push(values));
    there.next(1);
    tree.broker.run();
    expect(first).toEqual([[1]]);
    expect(tree.node(0).router.handleCount).toBe(before - 1);
    const seen = watch(here);
    there.next(2);
    tree.broker.run();
    expect(seen).toEqual([2]);
  });

  it('refuses at the sender what cannot be sent, with its path, and goes on', () => {
    const { tree, here, there } = conversation();
    const seen = watch(here);
    expect(() => { there.next({ deep: [() => 1] }); }).toThrow(EncodeError);
    expect(() => { there.next({ deep: [() => 1] }); }).toThrow(/^value\.deep\[0\] cannot be sent/);
    there.next('fine');
    tree.broker.run();
    expect(seen).toEqual(['fine']);
  });

  it('answers a payload that breaks the rules with a dead message, and goes on', () => {
    const { tree, here, there } = conversation();
    const seen = watch(here);
    const replies = tree.node(1).listen(0x2000_0000, { respondent: 0 });
    tree.node(1).send(0, HANDLE, '\xff\xff', 0x2000_0000);
    there.next('fine');
    tree.broker.run();
    expect(seen).toEqual(['fine']);
    expect(replies).toEqual(['[error]']);
    expect(tree.faults).toEqual([{ error: expect.any(DecodeError), where: 'message of context 1 for handle 3000' }]);
  });

  it('keeps its guard through operators: a subscriber that throws is reported (REFERENCE 247)', () => {
    const { tree, here, there } = conversation();
    const seen = watch(here);
    here.pipe(map((value) => [value])).subscribe(() => { throw new Error('my subscriber'); });
    here.subscribe({ error: () => undefined, complete: () => { throw new Error('my completion'); } });
    there.next(1);
    there.next(2);
    there.complete();
    tree.broker.run();
    expect(seen).toEqual([1, 2, 'complete']);
    expect(tree.faults.map(({ error }) => (error as Error).message)).toEqual(['my subscriber', 'my completion']);
  });

  it('hands what has waited to the first subscriber, also when that one subscribes another meanwhile', () => {
    const { tree, here, there } = conversation();
    for (const value of [1, 2, 3]) there.next(value);
    there.complete();
    tree.broker.run();
    const later: unknown[] = [];
    const first: unknown[] = [];
    here.subscribe({
      next: (value) => {
        first.push(value);
        // eslint-disable-next-line rxjs-x/no-nested-subscribe -- this is what the test is about
        if (value === 1) here.subscribe({ next: (other) => later.push(other), complete: () => later.push('complete') });
      },
      complete: () => first.push('complete'),
    });
    expect(first).toEqual([1, 2, 3, 'complete']);
    expect(later).toEqual([2, 3, 'complete']);
  });

  it('keeps what a first subscriber left for the next one', () => {
    const { tree, here, there } = conversation();
    for (const value of [1, 2, 3]) there.next(value);
    tree.broker.run();
    const some: unknown[] = [];
    here.pipe(take(2)).subscribe((value) => some.push(value));
    expect(some).toEqual([1, 2]);
    expect(watch(here)).toEqual([3]);
  });

  it.each([0, -1, 1.5, 2 ** 32, NaN])('cannot have a number that no header can carry: %d', (number) => {
    const tree = new VirtualTree({ shape: [0] });
    expect(() => contextAt(tree.node(0), 1).handle(number)).toThrow(UsageError);
  });
});

describe('a sender', () => {
  it('names the context and the handle of its mailbox (REFERENCE 91, 92)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const mailbox = contextAt(tree.node(0), 0).handle();
    expect(mailbox.sender).toMatchObject({ contextId: 0, handle: mailbox.number });
  });

  it('crosses the wire and sends to the mailbox that it came from; contexts do too (REFERENCE 63, 93)', () => {
    const { tree, here, there } = conversation();
    const own = contextAt(tree.node(0), 0).handle<string>(undefined, { policy: anyContext });
    const seen = watch(own);
    there.subscribe((value) => {
      const [sender, context] = value as [Sender<string>, Context];
      expect([context.id, context.name]).toEqual([0, 'c0']);
      sender.next('through the sender');
      sender.complete();
    });
    here.next([own.sender, contextAt(tree.node(0), 0)]);
    tree.broker.run();
    expect(seen).toEqual(['through the sender', 'complete']);
    expect(tree.faults).toEqual([]);
  });

  it('errors its mailbox with a text (REFERENCE 90)', () => {
    const tree = new VirtualTree({ shape: [0] });
    const own = contextAt(tree.node(0), 0).handle(undefined, { policy: anyContext });
    const seen = watch(own);
    new Sender(tree.node(1).router, 0, own.number).error(new Error('no more'));
    tree.broker.run();
    expect(seen).toEqual([expect.objectContaining({ reason: 'error', message: 'no more' })]);
  });
});
