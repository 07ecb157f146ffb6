import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { anyContext, hasParentAuthority, isImmediateChild } from '../src/core/mailbox/policy.ts';
import type { Policy } from '../src/core/mailbox/policy.ts';
import { DEL_ROUTE } from '../src/core/wire/handles.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import type { TreeOptions, VirtualNode } from '../test/support/virtual-tree.ts';
import { check } from './support.ts';

const trees: fc.Arbitrary<TreeOptions> = fc.record({
  shape: fc.array(fc.nat(), { minLength: 1, maxLength: 9 }),
  seed: fc.nat(),
  volatile: fc.boolean(),
  takeMs: fc.constantFrom(0, 3),
});

const OPEN = 2000;
const PARENTS = 2001;
const NEIGHBOURS = 2002;
const RESPONDENT = 2003;
const NOBODY = 2004;
const REPLIES = 0x2000_0000;
const POLICIES: Readonly<Record<number, Policy>> = { [OPEN]: anyContext, [PARENTS]: hasParentAuthority, [NEIGHBOURS]: isImmediateChild };
const HANDLES = [OPEN, PARENTS, NEIGHBOURS, RESPONDENT, NOBODY] as const;

function pick<T>(items: readonly T[], choice: number): T {
  return items[choice % items.length] as T;
}

function areNeighbours(a: VirtualNode, b: VirtualNode): boolean {
  return a.parent === b || b.parent === a;
}

/** Whether `to` lies on the side of `from` when the connection between `from` and its neighbour is cut. */
function isOnSideOf(from: VirtualNode, neighbour: VirtualNode, to: VirtualNode): boolean {
  return neighbour.parent === from ? !neighbour.subtree.includes(to) : from.subtree.includes(to);
}

/** The reason why the handle refuses, or undefined when it takes the message. */
function refusal(src: VirtualNode, dst: VirtualNode, handle: number, respondent: number): string | undefined {
  switch (handle) {
    case OPEN:
      return undefined;
    case PARENTS:
      return dst.lineage.includes(src) ? undefined : 'refused-by-policy';
    case NEIGHBOURS:
      return areNeighbours(src, dst) ? undefined : 'refused-by-policy';
    case RESPONDENT:
      return src.id === respondent ? undefined : 'unexpected-source';
    default:
      return 'invalid-handle';
  }
}

describe('routing in random trees', () => {
  it('delivers a message once, and in order, exactly when the policy of the handle allows; else a dead message comes back (REFERENCE 10, 22, 245, 256)', () => {
    const message = fc.tuple(fc.nat(), fc.nat(), fc.constantFrom(...HANDLES), fc.boolean());
    check(
      fc.property(trees, fc.array(message, { minLength: 1, maxLength: 40 }), fc.nat(), (options, messages, chosen) => {
        const tree = new VirtualTree(options);
        const respondent = chosen % tree.nodes.length;
        const received = new Map<string, string[]>();
        for (const node of tree.nodes) {
          for (const [handle, policy] of Object.entries(POLICIES)) received.set(`${String(node.id)}/${handle}`, node.listen(Number(handle), { policy }));
          received.set(`${String(node.id)}/${String(RESPONDENT)}`, node.listen(RESPONDENT, { respondent }));
        }
        const expected = new Map<string, string[]>([...received.keys()].map((key) => [key, []]));
        const replies: { got: string[]; want: string[] }[] = [];
        for (const [index, [from, to, handle, wantsReply]] of messages.entries()) {
          const [src, dst] = [pick(tree.nodes, from), pick(tree.nodes, to)];
          const reason = refusal(src, dst, handle, respondent);
          if (reason === undefined) expected.get(`${String(dst.id)}/${String(handle)}`)?.push(`${String(src.id)}: ${String(index)}`);
          const replyTo = REPLIES + index;
          if (wantsReply) replies.push({ got: src.listen(replyTo, { respondent: dst.id }), want: reason === undefined ? [] : [`[${reason}]`] });
          src.send(dst.id, handle, String(index), wantsReply ? replyTo : 0);
        }
        tree.broker.run();
        tree.check(() => {
          for (const [key, got] of received) {
            const want = expected.get(key) ?? [];
            expect([...got].sort()).toEqual([...want].sort());
            // Between two contexts the order is kept.
            for (const { id } of tree.nodes) expect(got.filter((each) => each.startsWith(`${String(id)}:`))).toEqual(want.filter((each) => each.startsWith(`${String(id)}:`)));
          }
          for (const { got, want } of replies) expect(got).toEqual(want);
          expect(tree.faults).toEqual([]);
        });
      }),
      80,
    );
  });

  it('answers what is for nobody with one dead message, made where the way ends (REFERENCE 23)', () => {
    check(
      fc.property(trees, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 100, max: 0xffff })), { minLength: 1, maxLength: 10 }), (options, messages) => {
        const tree = new VirtualTree(options);
        const replies = messages.map(([from, dstId], index) => {
          const src = pick(tree.nodes, from);
          const got = src.listen(REPLIES + index, { respondent: dstId });
          src.send(dstId, OPEN, 'anyone?', REPLIES + index);
          src.send(dstId, OPEN, 'no answer wanted');
          return got;
        });
        tree.broker.run();
        tree.check(() => {
          for (const got of replies) expect(got).toEqual(['[no-route]']);
        });
      }),
    );
  });

  it('delivers a forged source only when it is a context from whose side the message really came (REFERENCE 6, 7, S1)', () => {
    const forgery = fc.record({ from: fc.nat(), neighbour: fc.nat(), src: fc.nat(), dst: fc.nat() });
    check(
      fc.property(trees, fc.array(forgery, { minLength: 1, maxLength: 20 }), (options, forgeries) => {
        const tree = new VirtualTree(options);
        const received = tree.nodes.map((node) => node.listen(OPEN));
        const expected = tree.nodes.map((): string[] => []);
        let dropped = 0;
        for (const [index, forged] of forgeries.entries()) {
          const from = pick(tree.nodes, forged.from);
          const neighbour = pick(tree.nodes.filter((node) => areNeighbours(node, from)), forged.neighbour);
          const [src, dst] = [pick(tree.nodes, forged.src), pick(tree.nodes, forged.dst)];
          from.inject(neighbour, { dstId: dst.id, srcId: src.id, handle: OPEN, replyTo: 0, data: Buffer.from(String(index)) });
          if (!isOnSideOf(from, neighbour, src)) dropped++;
          else if (!isOnSideOf(from, neighbour, dst)) expected[dst.id]?.push(`${String(src.id)}: ${String(index)}`);
        }
        tree.broker.run();
        tree.check(() => {
          expect(received.map((got) => [...got].sort())).toEqual(expected.map((want) => [...want].sort()));
          expect(tree.nodes.flatMap(({ events }) => events.filter(({ type }) => type === 'message-dropped')).length).toBe(dropped);
        });
      }),
      150,
    );
  });

  it('settles every handler with a respondent behind a lost connection, once, and no other', () => {
    const wait = fc.record({ waiter: fc.nat(), respondent: fc.nat(), atMs: fc.nat(60) });
    const loss = fc.record({ atMs: fc.nat(60), error: fc.boolean() });
    check(
      fc.property(trees, fc.array(wait, { minLength: 1, maxLength: 20 }), fc.nat(), loss, (options, waits, which, { atMs, error }) => {
        const tree = new VirtualTree(options);
        const cut = pick(tree.nodes.slice(1), which);
        for (const node of tree.nodes) node.listen(OPEN);
        const results = waits.map(({ waiter, respondent, atMs: start }, index) => {
          const [here, there] = [pick(tree.nodes, waiter), pick(tree.nodes, respondent)];
          const handle = REPLIES + index;
          const got: string[] = [];
          tree.broker.after(start, () => {
            if (!here.alive) {
              got.push('[dead itself]');
              return;
            }
            // As calls do: the first end is the only one.
            here.router.addHandler(handle, { respondent: there.id, deliver: (message) => { here.router.removeHandler(handle); got.push(Buffer.from(message.data).toString()); } });
            here.send(there.id, OPEN, 'and?', handle);
          });
          return { here, there, got };
        });
        tree.broker.after(atMs, () => { cut.uplink?.lose(error ? new Error('the cable') : undefined); });
        tree.broker.run();
        tree.check(() => {
          const lost = new Set(cut.subtree);
          for (const { here, there, got } of results) expect([here.id, there.id, got.length]).toEqual([here.id, there.id, lost.has(here) || lost.has(there) ? 1 : 0]);
          for (const node of tree.nodes) expect(node.alive).toBe(!lost.has(node));
          expect(tree.faults).toEqual([]);
        });
      }),
      150,
    );
  });

  it('lets no context declare others gone, but those behind itself', () => {
    const forgery = fc.record({ from: fc.nat(), neighbour: fc.nat(), gone: fc.nat() });
    check(
      fc.property(trees, fc.array(forgery, { minLength: 1, maxLength: 10 }), (options, forgeries) => {
        const tree = new VirtualTree(options);
        const waiting = tree.nodes.flatMap((here) => tree.nodes.map((there) => ({ here, there, got: here.listen(REPLIES + there.id, { respondent: there.id }) })));
        const told = new Set<string>();
        for (const forged of forgeries) {
          const from = pick(tree.nodes, forged.from);
          const neighbour = pick(tree.nodes.filter((node) => areNeighbours(node, from)), forged.neighbour);
          const gone = pick(tree.nodes, forged.gone);
          const data = Buffer.alloc(2);
          data.writeUInt16BE(gone.id);
          from.inject(neighbour, { dstId: neighbour.id, srcId: from.id, handle: DEL_ROUTE, replyTo: 0, data });
          const isBelow = from.parent === neighbour;
          // A parent is believed, but of itself: also of those above it, which it has then been detached from.
          const allowed = isBelow ? gone !== from && from.subtree.includes(gone) : gone !== neighbour && gone !== from;
          // What a context is rightly told, it may pass on to others.
          if (allowed) told.add(String(gone.id));
        }
        tree.broker.run();
        tree.check(() => {
          for (const { there, got } of waiting) if (!told.has(String(there.id))) expect(got).toEqual([]);
        });
      }),
    );
  });
});
