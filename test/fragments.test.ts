import { describe, expect, it } from '@jest/globals';
import { anyContext } from '../src/core/mailbox/policy.ts';
import { Joiner } from '../src/core/routing/joiner.ts';
import { CONTINUES, IS_DEAD, MORE } from '../src/core/wire/frame.ts';
import type { Message } from '../src/core/wire/frame.ts';
import { deadError } from '../src/core/wire/values.ts';
import { VirtualTree } from './support/virtual-tree.ts';

const MAX = 100_000;
const HANDLE = 5000;
const REPLY = 0x2000_0000;

function fragment(part: number, data: string | Buffer, total?: number, fields: Partial<Message> = {}): Message {
  const front = Buffer.alloc(total === undefined ? 0 : 4);
  if (total !== undefined) front.writeUInt32BE(total);
  return { dstId: 0, srcId: 1, handle: HANDLE, replyTo: 0, data: Buffer.concat([front, Buffer.from(data)]), part, ...fields };
}

/** Context 0 with the child 1, which sends fragments as they are. */
function family(): { tree: VirtualTree; got: string[]; send: (...fragments: Message[]) => void; held: () => number } {
  const tree = new VirtualTree({ shape: [0], maxMessageSize: MAX });
  const got = tree.node(0).listen(HANDLE);
  const send = (...fragments: Message[]): void => {
    for (const each of fragments) tree.node(1).inject(tree.node(0), each);
    tree.broker.run();
  };
  return { tree, got, send, held: () => tree.node(0).streams.get(1)?.unfinishedBytes ?? NaN };
}

describe('fragments', () => {
  it('are joined by source and handle, whatever comes between', () => {
    const { got, send, held } = family();
    send(fragment(MORE, 'hel', 5), fragment(MORE, 'wo', 5, { handle: 5001 }), fragment(0, 'small', undefined, { handle: 5002 }), fragment(CONTINUES, 'lo'));
    expect([got, held()]).toEqual([['1: hello'], 0]);
  });

  it('that continue nothing are dropped, and one that begins takes the place of what was not finished', () => {
    const { got, send, held } = family();
    send(fragment(CONTINUES, 'lo'), fragment(MORE, 'hel', 5), fragment(MORE, 'good', 8), fragment(CONTINUES, ' day'), fragment(CONTINUES, ' day'));
    expect([got, held()]).toEqual([['1: good day'], 0]);
  });

  it('that never end take no more memory than was announced, and nothing when their source is gone', () => {
    const { tree, send, held } = family();
    send(fragment(MORE, Buffer.alloc(60_000), MAX));
    expect(held()).toBe(MAX);
    tree.node(1).die();
    tree.broker.run();
    expect(held()).toBe(0);
  });

  it('are forgotten when their handle is given up, and what follows is answered once', () => {
    const { tree, got, send, held } = family();
    const told: string[] = [];
    tree.node(1).router.addHandler(REPLY, { policy: anyContext, deliver: ({ data }) => told.push(deadError(data).reason) });
    send(fragment(MORE, 'hel', 5));
    tree.node(0).router.removeHandler(HANDLE);
    expect(held()).toBe(0);
    send(fragment(MORE | CONTINUES, 'l', undefined, { replyTo: REPLY }), fragment(CONTINUES, 'o', undefined, { replyTo: REPLY }));
    expect([got, told]).toEqual([[], ['invalid-handle']]);
  });

  it('of a source that a handle does not admit take no memory', () => {
    const { tree, send, held } = family();
    tree.node(0).listen(6000, { policy: () => false });
    send(fragment(MORE, Buffer.alloc(50_000), MAX, { handle: 6000 }), fragment(MORE, Buffer.alloc(50_000), MAX, { handle: 6001 }));
    expect(held()).toBe(0);
    expect(tree.node(1).alive).toBe(true);
  });

  it.each([
    ['are announced with more than maxMessageSize', [fragment(MORE, 'x', MAX + 1), fragment(CONTINUES, 'y')]],
    ['go on beyond their length', [fragment(MORE, 'x', 2), fragment(MORE | CONTINUES, 'yz'), fragment(CONTINUES, 'z')]],
    ['end before their length', [fragment(MORE, 'x', 4), fragment(CONTINUES, 'y')]],
    ['do not say their length', [fragment(MORE, 'xy'), fragment(CONTINUES, 'y')]],
  ])('that %s are no message, and whoever waits is told so', (_what, fragments) => {
    const { got, send, held, tree } = family();
    const told: string[] = [];
    tree.node(1).router.addHandler(REPLY, { policy: anyContext, deliver: ({ data, replyTo }) => { if (replyTo === IS_DEAD) told.push(deadError(data).reason); } });
    send(...fragments.map((each) => ({ ...each, replyTo: REPLY })));
    expect([got, told, held()]).toEqual([[], ['too-large'], 0]);
    send(...fragments);
    expect([got, held()]).toEqual([['[too-large]'], 0]);
    send(fragment(0, 'whole'));
    expect(got).toEqual(['[too-large]', '1: whole']);
  });

  it('of many messages at a time take memory up to a bound for each direct peer', () => {
    const joiner = new Joiner(MAX);
    const peer = { unfinishedBytes: 0 };
    const joined = Array.from({ length: 8 }, (_, handle) => joiner.join(fragment(MORE, Buffer.alloc(10), MAX, { handle }), peer));
    expect(joined).toEqual([undefined, undefined, undefined, undefined, null, null, null, null]);
    expect(peer.unfinishedBytes).toBe(4 * MAX);
    expect(joiner.join(fragment(MORE, 'x', 2), { unfinishedBytes: 0 })).toBeUndefined();
    joiner.forget(1);
    expect(peer.unfinishedBytes).toBe(0);
  });
});
