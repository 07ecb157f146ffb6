import { describe, expect, it } from '@jest/globals';
import { ChannelError, ShutdownError, UsageError } from '../src/core/errors.ts';
import { invoke } from '../src/core/call/invoke.ts';
import { anyContext, hasParentAuthority, isImmediateChild } from '../src/core/mailbox/policy.ts';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { CALL_FUNCTION, DEL_ROUTE, FIRST_DYNAMIC_HANDLE, SHUTDOWN } from '../src/core/wire/handles.ts';
import { deadError } from '../src/core/wire/values.ts';
import type { Message } from '../src/core/wire/frame.ts';
import { VirtualTree } from './support/virtual-tree.ts';

const HANDLE = 2000;
const REPLY = 0x2000_0000;

/** Master 0 with the children 1 and 2; 3 is below 1. */
function family(options: { maxMessageSize?: number } = {}): VirtualTree {
  return new VirtualTree({ shape: [0, 0, 1], ...options });
}

function drops(tree: VirtualTree, id: number): string[] {
  return tree.node(id).events.flatMap((event) => (event.type === 'message-dropped' ? [event.why] : []));
}

function refusals(tree: VirtualTree, id: number): string[] {
  return tree.node(id).events.flatMap((event) => (event.type === 'message-refused' ? [event.reason] : []));
}

/** The text of the dead message that a handle gets as its first. */
function listenForText(tree: VirtualTree, id: number, handle: number, respondent: number): Message[] {
  const found: Message[] = [];
  tree.node(id).listen(handle, { respondent }, (message) => found.push(message));
  return found;
}

describe('source verification', () => {
  it('drops a message of one child that claims to be another, and tells so (REFERENCE 6, 7)', () => {
    const tree = family();
    const got = tree.node(0).listen(HANDLE);
    tree.node(1).inject(tree.node(0), { dstId: 0, srcId: 2, handle: HANDLE, replyTo: 0, data: Buffer.from('forged') });
    tree.broker.run();
    expect(got).toEqual([]);
    expect(drops(tree, 0)).toEqual([expect.stringMatching(/^bad src_id: got 2 /)]);
  });

  it('drops a message of a child that claims to be the master, or the receiver itself (S1)', () => {
    const tree = family();
    const got = tree.node(1).listen(HANDLE);
    for (const srcId of [0, 1]) tree.node(3).inject(tree.node(1), { dstId: 1, srcId, handle: HANDLE, replyTo: 0, data: Buffer.from('forged') });
    tree.broker.run();
    expect(got).toEqual([]);
    expect(drops(tree, 1).length).toBe(2);
  });

  it('sends nothing back for what it drops', () => {
    const tree = family();
    const got = tree.node(2).listen(REPLY);
    tree.node(1).inject(tree.node(0), { dstId: 0, srcId: 2, handle: 1, replyTo: REPLY, data: Buffer.alloc(0) });
    tree.broker.run();
    expect(got).toEqual([]);
  });

  it('takes a message of a grandchild from the child above it', () => {
    const tree = family();
    const got = tree.node(2).listen(HANDLE);
    tree.node(3).send(2, HANDLE, 'hello');
    tree.broker.run();
    expect(got).toEqual(['3: hello']);
  });
});

describe('policies', () => {
  it('let a context send to itself by default (REFERENCE 9)', () => {
    const tree = family();
    const got = tree.node(0).listen(HANDLE, {});
    tree.node(0).send(0, HANDLE, 'to myself');
    expect(got).toEqual(['0: to myself']);
  });

  it('keep a message that is refused from the handler and answer it with a dead message (REFERENCE 10)', () => {
    const tree = family();
    const got = tree.node(1).listen(HANDLE, { policy: () => false });
    const replies = listenForText(tree, 0, REPLY, 1);
    tree.node(0).send(1, HANDLE, 'please', REPLY);
    tree.broker.run();
    expect(got).toEqual([]);
    expect(replies.map(({ data }) => deadError(data))).toEqual([expect.objectContaining({ reason: 'refused-by-policy', message: 'refused by policy' })]);
    expect(refusals(tree, 1)).toEqual(['refused-by-policy']);
  });

  it('refuse when they throw, which is reported, and nothing else is harmed', () => {
    const tree = family();
    const got = tree.node(1).listen(HANDLE, { policy: () => { throw new Error('my policy'); } });
    const replies = tree.node(0).listen(REPLY, { respondent: 1 });
    const other = tree.node(1).listen(HANDLE + 1);
    tree.node(0).send(1, HANDLE, 'please', REPLY);
    tree.node(0).send(1, HANDLE + 1, 'and this');
    tree.broker.run();
    expect([got, replies, other]).toEqual([[], ['[refused-by-policy]'], ['0: and this']]);
    expect(tree.faults).toEqual([{ error: expect.objectContaining({ message: 'my policy' }), where: `policy of handle ${String(HANDLE)}` }]);
  });

  it('hasParentAuthority admits the context itself and all parents, nobody else (REFERENCE 212)', () => {
    const message = (srcId: number): Message => ({ dstId: 3, srcId, handle: 1, replyTo: 0, data: Buffer.alloc(0) });
    const scope = { id: 3, parentIds: [1, 0], immediateId: 1 };
    expect([0, 1, 3, 2, 4].map((srcId) => hasParentAuthority(message(srcId), scope))).toEqual([true, true, true, false, false]);
  });

  it('isImmediateChild admits the direct peer that a message came from, not those behind it (REFERENCE 213)', () => {
    const tree = family();
    const got = tree.node(0).listen(HANDLE, { policy: isImmediateChild });
    for (const id of [1, 2, 3, 0]) tree.node(id).send(0, HANDLE, 'mine');
    tree.broker.run();
    expect([...got].sort()).toEqual(['1: mine', '2: mine']);
  });

  it('refuse CALL_FUNCTION, SHUTDOWN and DEL_ROUTE from a sibling and from a child (REFERENCE 249, S2, S3)', () => {
    const tree = family();
    const called = tree.node(1).listen(CALL_FUNCTION, { policy: hasParentAuthority });
    for (const handle of [CALL_FUNCTION, SHUTDOWN, DEL_ROUTE]) for (const id of [2, 3]) if (handle !== DEL_ROUTE || id === 2) tree.node(id).send(1, handle, 'xx');
    tree.broker.run();
    expect(called).toEqual([]);
    expect(refusals(tree, 1)).toEqual(Array.from({ length: 5 }, () => 'refused-by-policy'));
    expect(tree.node(1).alive).toBe(true);
    tree.node(0).send(1, SHUTDOWN, '');
    tree.broker.run();
    expect(tree.node(1).alive).toBe(false);
  });

  it('obey no longer those above of whom the parent says that they are gone', () => {
    const tree = family();
    const called = tree.node(3).listen(CALL_FUNCTION, { policy: hasParentAuthority });
    const { router } = tree.node(3);
    // Of itself a parent cannot say that: its stream ends.
    tree.node(1).send(3, DEL_ROUTE, '\0\x01');
    tree.broker.run();
    expect(router.parentIds).toEqual([1, 0]);
    tree.node(0).send(3, CALL_FUNCTION, 'before');
    tree.broker.run();
    tree.node(1).send(3, DEL_ROUTE, '\0\0');
    tree.broker.run();
    expect(router.parentIds).toEqual([1]);
    for (const id of [0, 1]) tree.node(id).send(3, CALL_FUNCTION, 'after');
    tree.broker.run();
    expect(called).toEqual(['0: before', '1: after']);
  });

  it('refuse a reply from anyone but the respondent (REFERENCE 245, S5)', () => {
    const tree = family();
    const got = tree.node(0).listen(REPLY, { respondent: 1 });
    const told = listenForText(tree, 2, REPLY, 0);
    tree.node(2).send(0, REPLY, 'I am 1, honestly', REPLY);
    tree.broker.run();
    expect(got).toEqual([]);
    expect(told.map(({ data }) => deadError(data))).toEqual([expect.objectContaining({ reason: 'unexpected-source', message: 'reply from unexpected context' })]);
    tree.node(1).send(0, REPLY, 'I am');
    tree.broker.run();
    expect(got).toEqual(['1: I am']);
  });

  it('refuse a dead message from a stranger on a well-known number', () => {
    const tree = family();
    const got = tree.node(0).listen(HANDLE, { respondent: 1 });
    tree.node(2).router.sendDead(0, HANDLE, 'closed');
    tree.broker.run();
    expect(got).toEqual([]);
  });
});

describe('handlers', () => {
  it('cannot be added twice (REFERENCE 13), but again after they were removed (REFERENCE 14)', () => {
    const { router } = family().node(0);
    const handler = { deliver: () => undefined };
    router.addHandler(HANDLE, handler);
    expect(() => { router.addHandler(HANDLE, handler); }).toThrow(UsageError);
    expect(() => { router.addHandler(HANDLE, handler); }).toThrow(/cannot register handle 2000: it exists already/);
    router.removeHandler(HANDLE);
    expect(() => { router.addHandler(HANDLE, handler); }).not.toThrow();
    router.addConversation(1, HANDLE, handler);
    expect(() => { router.addConversation(1, HANDLE, handler); }).toThrow(UsageError);
    router.removeConversation(1, HANDLE);
    expect(() => { router.addConversation(1, HANDLE, handler); }).not.toThrow();
  });

  it('that throw are reported and harm neither the stream nor others (REFERENCE 247)', () => {
    const tree = family();
    const got = tree.node(1).listen(HANDLE, { policy: anyContext }, () => { throw new Error('my handler'); });
    const other = tree.node(1).listen(HANDLE + 1);
    for (let round = 0; round < 2; round++) for (const handle of [HANDLE, HANDLE + 1]) tree.node(0).send(1, handle, 'x');
    tree.broker.run();
    expect([got.length, other.length]).toEqual([2, 2]);
    expect(tree.faults.map(({ where }) => where)).toEqual([`handler of handle ${String(HANDLE)}`, `handler of handle ${String(HANDLE)}`]);
  });

  it('get a dead message at shutdown (REFERENCE 12), and none can be added after it', () => {
    const tree = family();
    const got = tree.node(0).listen(HANDLE);
    tree.node(0).router.close();
    expect(got).toEqual(['[broker-exit]']);
    expect(tree.node(0).router.handleCount).toBe(0);
    expect(() => tree.node(0).listen(HANDLE)).toThrow(ShutdownError);
    expect(() => { tree.node(0).router.addConversation(1, HANDLE, { deliver: () => undefined }); }).toThrow(ShutdownError);
  });

  it('of a subscriber to the events that throws harm nothing', () => {
    const tree = family();
    tree.node(0).router.events.subscribe(() => { throw new Error('my tool'); });
    const got = tree.node(0).listen(HANDLE, {});
    tree.node(2).send(0, HANDLE, 'refused');
    tree.node(0).send(0, HANDLE, 'x');
    tree.broker.run();
    expect(got).toEqual(['0: x']);
    expect(refusals(tree, 0)).toEqual(['refused-by-policy']);
    expect(tree.faults).toEqual([{ error: expect.objectContaining({ message: 'my tool' }), where: 'subscriber of the events of a router' }]);
  });

  it('get random unused numbers that no well-known handle has (REFERENCE 85)', () => {
    const { router } = family().node(0);
    const handles = Array.from({ length: 3000 }, () => router.allocateHandle());
    expect(new Set(handles).size).toBe(handles.length);
    expect(Math.min(...handles)).toBeGreaterThanOrEqual(FIRST_DYNAMIC_HANDLE);
    expect(Math.max(...handles)).toBeLessThanOrEqual(0xffff_ffff);
  });
});

describe('dead messages', () => {
  it('come from the live context that has no such handle (REFERENCE 22)', () => {
    const tree = family();
    const got = listenForText(tree, 2, REPLY, 3);
    tree.node(2).send(3, HANDLE, 'x', REPLY);
    tree.broker.run();
    expect(got.map(({ srcId, replyTo, data }) => [srcId, replyTo, Buffer.from(data).toString()])).toEqual([[3, IS_DEAD, 'invalid-handle: invalid handle 2000']]);
  });

  it('come from the local context for a context that never was (REFERENCE 23)', () => {
    const tree = family();
    const got = listenForText(tree, 0, REPLY, 1234);
    tree.node(0).send(1234, HANDLE, 'x', REPLY);
    expect(got.map(({ srcId, data }) => [srcId, deadError(data)])).toEqual([[0, expect.objectContaining({ reason: 'no-route', message: 'no route to 1234, my ID is 0' })]]);
    expect(got.map(({ data }) => deadError(data))[0]).toBeInstanceOf(ChannelError);
  });

  it('come from the child for a context that is not behind it (REFERENCE 8)', () => {
    const tree = family();
    const stream = tree.node(0).streams.get(2);
    if (stream) tree.node(0).router.table.add(1234, stream);
    const got = listenForText(tree, 0, REPLY, 1234);
    tree.node(0).send(1234, HANDLE, 'x', REPLY);
    tree.broker.run();
    expect(got.map(({ data }) => deadError(data).message)).toEqual(['no route to 1234, my ID is 2']);
  });

  it('are never answered, and not sent where no answer is wanted', () => {
    const tree = family();
    tree.node(0).send(1, HANDLE, 'x', 0);
    tree.node(0).router.sendDead(1, HANDLE, 'closed');
    tree.broker.run();
    expect(tree.diagram.match(/->>/g)?.length).toBe(2);
  });

  it('keep to a length, so that they pass where messages are limited', () => {
    const tree = family({ maxMessageSize: 4096 });
    const got = tree.node(1).listen(HANDLE);
    tree.node(0).router.sendDead(1, HANDLE, 'error', 'x'.repeat(10_000));
    tree.broker.run();
    expect(got).toEqual(['[error]']);
    expect(tree.node(1).alive).toBe(true);
  });

  it('tell those that have sent to a context that it is gone, and those above it', () => {
    const tree = family();
    const [near, far] = [tree.node(2).listen(REPLY, { respondent: 3 }), tree.node(0).listen(REPLY, { respondent: 3 })];
    tree.node(3).listen(HANDLE);
    tree.node(2).send(3, HANDLE, 'are you there?', REPLY);
    tree.broker.run();
    tree.node(3).uplink?.lose();
    tree.broker.run();
    expect([near, far]).toEqual([['[respondent-gone]'], ['[respondent-gone]']]);
    expect(tree.node(0).router.table.get(3)).toBeUndefined();
  });
});

describe('messages over the limit', () => {
  it('are dropped, which is told, and fail the sender that waits for an answer (REFERENCE 16, 17)', () => {
    const tree = family({ maxMessageSize: 100 });
    const got = listenForText(tree, 0, REPLY, 1);
    const there = tree.node(1).listen(HANDLE);
    tree.node(0).send(1, HANDLE, 'x'.repeat(101), REPLY);
    tree.broker.run();
    expect(there).toEqual([]);
    expect(got.map(({ data }) => deadError(data))).toEqual([expect.objectContaining({ reason: 'too-large', message: 'message too large (101 bytes, max 100 bytes)' })]);
    expect(tree.node(0).events).toContainEqual({ type: 'message-refused', reason: 'too-large', why: 'message too large (101 bytes, max 100 bytes)', srcId: 0, handle: HANDLE, via: undefined });
  });

  it('fail the one that was to receive them when no answer is wanted (REFERENCE 18)', () => {
    const tree = family({ maxMessageSize: 100 });
    const got = tree.node(1).listen(HANDLE, { respondent: 0 });
    tree.node(0).send(1, HANDLE, 'x'.repeat(101));
    tree.broker.run();
    expect(got).toEqual(['[too-large]']);
  });

  it('pass up to exactly the limit', () => {
    const tree = family({ maxMessageSize: 100 });
    const got = tree.node(3).listen(HANDLE);
    tree.node(0).send(3, HANDLE, 'x'.repeat(100));
    tree.broker.run();
    expect(got).toEqual([`0: ${'x'.repeat(100)}`]);
  });

  it('that a peer sends all the same disconnect it', () => {
    const tree = family({ maxMessageSize: 100 });
    tree.node(1).inject(tree.node(0), { dstId: 0, srcId: 1, handle: HANDLE, replyTo: 0, data: Buffer.alloc(101) });
    tree.broker.run();
    expect(tree.node(1).alive).toBe(false);
    expect(tree.node(0).events).toContainEqual({ type: 'stream-closed', id: 1, error: expect.objectContaining({ code: 'ERR_TENDRIL_MESSAGE_TOO_LARGE' }) });
  });
});

describe('a call', () => {
  it('fails at once, and for good, when it is made after the shutdown of its context', () => {
    const tree = family();
    const target = { contextId: 1, name: 'one', ready: true, calls: 0, chains: new Map(), whenReady: () => undefined, prepare: () => undefined };
    const errors: unknown[] = [];
    const call = invoke(tree.node(0).scope, { target, ref: () => ({ module: 'm', className: null, name: 'f' }), args: [], chain: null });
    call.subscribe({ error: (error) => errors.push(error) });
    tree.node(0).router.close();
    expect(errors).toEqual([expect.objectContaining({ reason: 'broker-exit' })]);
    call.subscribe({ error: (error) => errors.push(error) });
    expect(errors[1]).toBeInstanceOf(ShutdownError);
  });
});
