import { describe, expect, it } from '@jest/globals';
import { ChannelError } from '../src/core/errors.ts';
import { ADD_ROUTE, ALLOCATE_ID } from '../src/core/wire/handles.ts';
import { decodeValue } from '../src/core/wire/values.ts';
import { LiveTree, dataCentres, expectLiveRoutes, say } from './support/live-tree.ts';
import type { VirtualNode } from './support/virtual-tree.ts';

const OPEN = 2000;
const QUARANTINE = 60_000;

/** What each hop on the way to a context does with a request to make another there. */
function expectAt(node: VirtualNode, targetId: number, id: number): boolean {
  const next = node.router.table.get(targetId);
  if (next === undefined) {
    node.routing!.routes.withdraw(id);
    return false;
  }
  const granted = node.routing!.ids.expect(next.remoteId, id) && node.router.table.add(id, next);
  const hop = node.children.find((child) => child.id === next.remoteId)!;
  return granted && (next.remoteId === targetId || expectAt(hop, targetId, id));
}

describe('context IDs', () => {
  it('come from blocks: a child gets the first of a fresh one, then the next, and the master goes on behind it (REFERENCE 153)', () => {
    const tree = new LiveTree();
    const child = tree.born(tree.root);
    expect(child.id).toBe(1);
    expect([tree.born(child), tree.born(child)].map(({ id }) => id)).toEqual([2, 3]);
    // The block has 4.
    expect(tree.born(tree.root).id).toBe(6);
  });

  it('are asked for in larger blocks each time, through all hops, and never twice', () => {
    const tree = new LiveTree({ latencyMs: 1 });
    const parents = tree.chain(tree.root, 4);
    const requests: number[] = [];
    const { receive } = tree.root.router;
    tree.root.router.receive = (batch, from) => {
      for (const { handle, data } of batch) if (handle === ALLOCATE_ID) requests.push(decodeValue(data) as number);
      receive.call(tree.root.router, batch, from);
    };
    const births = Array.from({ length: 100 }, () => tree.connect(parents[3]!));
    tree.broker.run();
    expect(births.flatMap(({ error }) => error ?? [])).toEqual([]);
    const ids = births.map(({ node }) => node?.id);
    expect(new Set(ids).size).toBe(100);
    expect(ids).not.toContain(undefined);
    expect(requests.length).toBeGreaterThan(1);
    expect(requests).toEqual([...requests].sort((a, b) => a - b));
    expectLiveRoutes(tree);
  });

  it('rest when their context has gone, then those longest out of use come first', () => {
    const tree = new LiveTree({ ids: 3, quarantineMs: QUARANTINE });
    const [first, second] = [tree.born(tree.root), tree.born(tree.root)];
    for (const node of [second, first]) {
      node.uplink!.lose();
      tree.broker.run();
    }
    expect(tree.born(tree.root).id).toBe(3);
    expect(tree.connect(tree.root).error).toMatchObject({ code: 'ERR_TENDRIL_NO_IDS' });
    tree.broker.advance(QUARANTINE - 1000);
    expect(tree.connect(tree.root).error).toMatchObject({ code: 'ERR_TENDRIL_NO_IDS', message: expect.stringContaining('2 at rest') });
    tree.broker.advance(1000);
    expect([tree.born(tree.root).id, tree.born(tree.root).id]).toEqual([2, 1]);
  });

  it('come back in blocks when a subtree dies, and are all there again in the end', () => {
    const { tree, master, bastion } = dataCentres();
    expect(master.routing!.ids.counts.free).toBeLessThan(0xffff - 1);
    bastion.uplink!.lose();
    tree.broker.run();
    expect(master.routing!.ids.counts).toMatchObject({ used: 0, holders: 0 });
    tree.broker.advance(QUARANTINE);
    expect(master.routing!.ids.counts).toEqual({ free: 0xffff, resting: 0, used: 0, holders: 0 });
  });

  it('that nobody has are a typed error, at any depth', () => {
    const tree = new LiveTree({ ids: 5 });
    const [, , third] = tree.chain(tree.root, 3);
    const births = Array.from({ length: 6 }, () => tree.connect(third!));
    tree.broker.run();
    const failed = births.flatMap(({ error }) => error ?? []);
    expect(failed.length).toBeGreaterThan(0);
    for (const error of failed) expect(error).toMatchObject({ code: 'ERR_TENDRIL_NO_IDS', message: expect.stringContaining('all context IDs are in use') });
  });

  it('that are waited for when the parent is lost fail with its end', () => {
    const tree = new LiveTree();
    const child = tree.born(tree.root);
    const birth = tree.connect(child);
    child.uplink!.lose();
    tree.broker.run();
    expect(birth.node).toBeUndefined();
    expect(birth.error).toBeInstanceOf(ChannelError);
  });

  it('that are not waited for any more stay in the pool', () => {
    const tree = new LiveTree();
    const child = tree.born(tree.root);
    const { ids } = child.raise();
    ids.allocate().subscribe(() => {
      throw new Error('nobody waits');
    }).unsubscribe();
    tree.broker.run();
    expect(ids.counts).toMatchObject({ free: 4, used: 0 });
    expect(tree.faults).toEqual([]);
  });

  it('that were asked for by a child which is gone stay with the one that asked for it', () => {
    const tree = new LiveTree({ latencyMs: 0 });
    const [child, grandchild] = tree.chain(tree.root, 2);
    const { ids } = child!.raise();
    for (let left = ids.counts.free; left > 0; left--) ids.allocateNow();
    const birth = tree.connect(grandchild!);
    child!.uplink!.latencyMs = 100;
    tree.broker.advance(50);
    grandchild!.uplink!.lose();
    tree.broker.run();
    expect(birth.error).toBeInstanceOf(ChannelError);
    expect(ids.counts).toMatchObject({ free: 8, holders: 0 });
  });

  it('that are released early rest from when nothing leads there any more', () => {
    const tree = new LiveTree({ ids: 2, quarantineMs: QUARANTINE });
    const node = tree.born(tree.root);
    const { ids } = tree.root.routing!;
    ids.release(node.id);
    tree.broker.advance(2 * QUARANTINE);
    expect(tree.born(tree.root).id).toBe(2);
    expect(tree.connect(tree.root).error).toMatchObject({ code: 'ERR_TENDRIL_NO_IDS' });
    node.uplink!.lose();
    tree.broker.run();
    expect(ids.counts).toMatchObject({ free: 0, resting: 1 });
    tree.broker.advance(QUARANTINE);
    expect(tree.born(tree.root).id).toBe(node.id);
  });

  it('can be allocated by the master for a context far below, which then is reached at once', () => {
    const { tree, master, left } = dataCentres();
    const target = left[3]!;
    const id = master.routing!.ids.allocateNow();
    expect(expectAt(master, target.id, id)).toBe(true);
    target.listen(OPEN, undefined, () => {
      const got = tree.attach(target, id).listen(OPEN);
      target.listen(OPEN + 1, undefined, () => { target.send(0, OPEN, got.join()); });
    });
    master.send(target.id, OPEN, 'make it');
    // Behind the request, before any news of the new context has come.
    master.send(id, OPEN, 'hello');
    tree.broker.run();
    const told = master.listen(OPEN);
    master.send(target.id, OPEN + 1, 'what has it got?');
    tree.broker.run();
    expect(told).toEqual([`${String(target.id)}: 0: hello`]);
    expectLiveRoutes(tree);
    // It is the master's again when the context has gone, and cannot be announced once more.
    target.children[0]!.uplink!.lose();
    master.routing!.ids.release(id);
    tree.broker.run();
    expect([master, left[0]!].map((node) => node.router.table.get(id))).toEqual([undefined, undefined]);
    say(target, left[2]!, ADD_ROUTE, [id, 'again']);
    tree.broker.run();
    expect(left[2]!.router.table.get(id)).toBeUndefined();
    expect(master.routing!.ids.counts.resting).toBe(1);
  });

  it('granted for a context that never comes are taken back', () => {
    const { tree, master, left } = dataCentres();
    const [target, id] = [left[3]!, master.routing!.ids.allocateNow()];
    expectAt(master, target.id, id);
    tree.broker.run();
    expect(left[2]!.router.table.get(id)).toBe(left[2]!.streams.get(target.id));
    target.raise().routes.withdraw(id);
    tree.broker.run();
    for (const node of [master, ...left]) expect(node.router.table.get(id)).toBeUndefined();
  });

  it('granted to a context that is just gone are taken back', () => {
    const { tree, master, left } = dataCentres();
    const id = master.routing!.ids.allocateNow();
    left[3]!.uplink!.lose();
    expectAt(master, left[3]!.id, id);
    tree.broker.run();
    for (const node of [master, ...left]) expect(node.router.table.get(id)).toBeUndefined();
    expectLiveRoutes(tree);
  });

  it('are not granted when they are in use, nor those of contexts above', () => {
    const { master, left } = dataCentres();
    const { ids } = master.routing!;
    expect([ids.expect(left[0]!.id, 0), ids.expect(5000, left[2]!.id)]).toEqual([false, false]);
  });
});
