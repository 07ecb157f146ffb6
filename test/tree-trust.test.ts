import { describe, expect, it } from '@jest/globals';
import { hasParentAuthority } from '../src/core/mailbox/policy.ts';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { ADD_ROUTE, ALLOCATE_ID, CALL_FUNCTION, DEL_ROUTE, FORWARD_LOG } from '../src/core/wire/handles.ts';
import { deadError, decodeValue, encodeValue } from '../src/core/wire/values.ts';
import { unidirectional } from '../src/parent/routing/edge-policy.ts';
import type { EdgeEnvelope } from '../src/parent/routing/edge-policy.ts';
import { LiveTree, dataCentres, deadTexts, expectLiveRoutes, say, sayGone } from './support/live-tree.ts';

const OPEN = 2000;
const REPLY = 0x2000_0000;

describe('what a hostile child says of routes', () => {
  it('is taken only for IDs that were granted to it, and never for those of others (REFERENCE S4)', () => {
    const { tree, master, bastion, left, right } = dataCentres();
    const hostile = left[1]!;
    const before = new Map(tree.alive.map((node) => [node.id, tree.routes(node)]));
    for (const id of [0, hostile.id, left[0]!.id, bastion.id, right[0]!.id, right[3]!.id, left[2]!.id, 5000, 65_535, -1, 1.5, 70_000]) say(hostile, left[0]!, ADD_ROUTE, [id, 'mine']);
    tree.broker.run();
    expect(new Map(tree.alive.map((node) => [node.id, tree.routes(node)]))).toEqual(before);
    expect(left[0]!.router.stats().find(({ id }) => id === hostile.id)?.dropped['bad-route']).toBe(11);
    expect(left[0]!.warnings).toEqual([expect.stringMatching(/bad route: 0 was not granted to context/)]);
    // One that is its own to give goes all the way up; the same again says nothing new.
    const own = hostile.routing!.ids.counts.free;
    expect(own).toBeGreaterThan(0);
    let free = 0;
    hostile.routing!.ids.allocate().subscribe((id) => { free = id; });
    for (let round = 0; round < 3; round++) say(hostile, left[0]!, ADD_ROUTE, [free, 'a ghost']);
    tree.broker.run();
    expect(master.router.table.get(free)).toBe(master.streams.get(bastion.id));
    expect(master.routing!.routes.nameOf(free)).toBe('a ghost');
  });

  it('is heard from a direct child only, not from one behind it, nor from a parent', () => {
    const tree = new LiveTree();
    const [child, grandchild] = tree.chain(tree.root, 2);
    tree.born(grandchild!);
    let free = 0;
    grandchild!.routing!.ids.allocate().subscribe((id) => { free = id; });
    grandchild!.router.send({ dstId: 0, srcId: grandchild!.id, handle: ADD_ROUTE, replyTo: 0, data: encodeValue([free, 'x']).data });
    say(tree.root, child!, ADD_ROUTE, [4000, 'x']);
    tree.broker.run();
    expect([tree.root, child!].map(({ router }) => [router.table.get(free), router.table.get(4000)])).toEqual([[undefined, undefined], [undefined, undefined]]);
    expect(tree.faults).toEqual([]);
  });

  it('that is no announcement harms nothing, and is counted', () => {
    const tree = new LiveTree();
    const child = tree.born(tree.root);
    const bad = ['x', [], [1], [2, 3], ['2', 'x'], [2, 'x'.repeat(257)], { id: 2 }, null];
    for (const value of bad) say(child, tree.root, ADD_ROUTE, value);
    child.inject(tree.root, { dstId: 0, srcId: child.id, handle: ADD_ROUTE, replyTo: 0, data: Buffer.from('ff00', 'hex') });
    for (const length of [0, 1, 3, 4]) child.inject(tree.root, { dstId: 0, srcId: child.id, handle: DEL_ROUTE, replyTo: 0, data: Buffer.alloc(length) });
    tree.broker.run();
    expectLiveRoutes(tree);
    expect(tree.faults).toEqual([]);
    expect(tree.root.router.stats()).toEqual([expect.objectContaining({ id: child.id, dropped: { 'bad-source': 0, 'bad-route': bad.length + 5, 'over-quota': 0 } })]);
    // Once for the burst.
    expect(tree.root.warnings.length).toBe(1);
  });

  it('takes back only what lies behind it', () => {
    const { tree, bastion, left, right } = dataCentres();
    const waiting = right[0]!.listen(REPLY, { respondent: right[3]!.id });
    for (const id of [0, bastion.id, left[0]!.id, left[1]!.id, right[0]!.id, right[3]!.id, 5000]) sayGone(left[1]!, left[0]!, id);
    sayGone(left[0]!, bastion, right[3]!.id);
    tree.broker.run();
    expectLiveRoutes(tree);
    expect(waiting).toEqual([]);
    sayGone(left[1]!, left[0]!, left[3]!.id);
    tree.broker.run();
    for (const node of [tree.root, bastion, left[0]!]) expect(node.router.table.get(left[3]!.id)).toBeUndefined();
  });

  it('about IDs that it wants is bounded: how many, how often, and one request at a time', () => {
    const tree = new LiveTree({ quotas: { ids: 100, idRequests: { burst: 5, perSecond: 1 } } });
    const [honest, hostile] = [tree.born(tree.root), tree.born(tree.root)];
    const answers: string[] = [];
    hostile.listen(REPLY, undefined, (message) => answers.push(message.replyTo === IS_DEAD ? deadError(message.data).message : JSON.stringify(decodeValue(message.data))));
    for (const count of [60, 60, 0, 'x', [1]]) say(hostile, tree.root, ALLOCATE_ID, count, { replyTo: REPLY });
    say(hostile, tree.root, ALLOCATE_ID, 10);
    tree.broker.run();
    expect(answers.slice(0, 2)).toEqual(['[[3,63]]', `context ${String(hostile.id)}, with those behind it, has 60 of the 100 context IDs of its quota, and asks for 60; raise quotas.ids at the master`]);
    expect(answers.slice(2)).toEqual(Array.from({ length: 3 }, () => `context ${String(hostile.id)} asks for IDs in a way that is not valid`));
    for (let round = 0; round < 50; round++) say(hostile, tree.root, ALLOCATE_ID, 1, { replyTo: REPLY });
    tree.broker.run();
    expect(answers.filter((text) => text.startsWith('[[')).length).toBe(4);
    expect(answers.filter((text) => text.includes('too often')).length).toBe(47);
    expect(tree.root.router.stats().find(({ id }) => id === hostile.id)?.dropped['over-quota']).toBe(48);
    // The other is served as ever.
    expect(tree.born(honest).id).toBeGreaterThan(60);
  });

  it('in the name of others is dropped at the first hop', () => {
    const { tree, left, right } = dataCentres();
    const got = tree.root.listen(OPEN);
    for (const srcId of [0, left[0]!.id, right[3]!.id, 6000]) left[1]!.inject(left[0]!, { dstId: 0, srcId, handle: OPEN, replyTo: 0, data: Buffer.from('forged') });
    tree.broker.run();
    expect(got).toEqual([]);
    expect(left[0]!.router.stats().find(({ id }) => id === left[1]!.id)?.dropped['bad-source']).toBe(4);
    expect(left[0]!.warnings).toEqual([expect.stringMatching(/^dropped a message of context 0 for handle 2000: bad src_id: got 0 /)]);
  });
});

describe('unidirectional mode', () => {
  it('refuses messages between siblings at the master, and says so (REFERENCE 25, S8)', () => {
    const tree = new LiveTree({ edge: unidirectional });
    const [a, b] = [tree.born(tree.root), tree.born(tree.root)];
    const got = b.listen(OPEN);
    const told = deadTexts(a, REPLY, b.id);
    for (let round = 0; round < 3; round++) a.send(b.id, OPEN, 'psst', REPLY);
    a.send(b.id, OPEN, 'no answer wanted');
    a.router.sendDead(b.id, OPEN, 'closed');
    tree.broker.run();
    const text = `routing mode prevents forward of message from context ${String(a.id)} to context ${String(b.id)} via context 0`;
    expect([got, told]).toEqual([[], [text, text, text]]);
    expect(tree.root.warnings).toEqual([text]);
    expect(tree.root.router.stats().find(({ id }) => id === a.id)).toMatchObject({ refused: 5, forwarded: 0 });
    tree.broker.advance(20_000);
    a.send(b.id, OPEN, 'psst');
    tree.broker.run();
    expect(tree.root.warnings[1]).toBe(`${text} (and 4 more like it before)`);
  });

  it('holds in subtrees, for siblings and cousins there (REFERENCE 26), and lets parents and children talk', () => {
    const { tree, all, left, right } = dataCentres(new LiveTree({ edge: unidirectional }));
    const sibling = tree.born(left[1]!);
    const nodes = [...all, sibling];
    const received = nodes.map((node) => node.listen(OPEN));
    const told = deadTexts(left[2]!, REPLY, sibling.id);
    for (const from of nodes) for (const to of nodes) from.send(to.id, OPEN, 'hello');
    left[2]!.send(sibling.id, OPEN, 'hello', REPLY);
    tree.broker.run();
    expect(told).toEqual([`routing mode prevents forward of message from context ${String(left[2]!.id)} to context ${String(sibling.id)} via context ${String(left[1]!.id)}`]);
    for (const [index, node] of nodes.entries()) {
      const kin = nodes.filter((other) => other.lineage.includes(node) || node.lineage.includes(other));
      expect([node.id, [...received[index]!].sort()]).toEqual([node.id, kin.map(({ id }) => `${String(id)}: hello`).sort()]);
    }
    expect(left[0]!.lineage).not.toContain(right[0]);
  });

  it('can have exceptions, which change nothing of who may call (REFERENCE 27)', () => {
    const seen: [EdgeEnvelope, number, number][] = [];
    const tree = new LiveTree({ edge: (message, from, to) => {
      seen.push([message, from, to]);
      return message.srcId === 1 || message.replyTo === IS_DEAD;
    } });
    const [privileged, other] = [tree.born(tree.root), tree.born(tree.root)];
    const got = other.listen(OPEN);
    const called = other.listen(CALL_FUNCTION, { policy: hasParentAuthority });
    const told = deadTexts(privileged, REPLY, other.id);
    const refused = deadTexts(other, REPLY, privileged.id);
    privileged.send(other.id, OPEN, 'hello');
    privileged.send(other.id, CALL_FUNCTION, 'run this', REPLY);
    other.send(privileged.id, OPEN, 'hello', REPLY);
    tree.broker.run();
    expect([got, called, told]).toEqual([['1: hello'], [], ['refused by policy']]);
    expect(refused).toEqual([expect.stringMatching(/^routing mode prevents/)]);
    expect(seen).toContainEqual([{ srcId: 1, dstId: other.id, handle: OPEN, replyTo: 0 }, 1, other.id]);
  });

  it('forbids what its policy throws at, and reports it', () => {
    const tree = new LiveTree({ edge: () => { throw new Error('my policy'); } });
    const [a, b] = [tree.born(tree.root), tree.born(tree.root)];
    const got = b.listen(OPEN);
    a.send(b.id, OPEN, 'hello');
    tree.broker.run();
    expect(got).toEqual([]);
    expect(tree.faults).toEqual([{ error: expect.objectContaining({ message: 'my policy' }), where: 'policy of messages between children' }]);
  });
});

describe('traffic', () => {
  it('is counted for each direct peer', () => {
    const tree = new LiveTree();
    const [a, b] = [tree.born(tree.root), tree.born(tree.root)];
    b.listen(OPEN);
    const before = tree.root.router.stats().find(({ id }) => id === a.id)?.frames ?? 0;
    expect(before).toBe(0);
    a.send(b.id, OPEN, '12345');
    a.send(0, OPEN, '1');
    tree.broker.run();
    expect(tree.root.router.stats()).toEqual([{ id: a.id, frames: 2, bytes: 38, forwarded: 1, dropped: { 'bad-source': 0, 'bad-route': 0, 'over-quota': 0 }, refused: 0 }]);
    a.uplink!.lose();
    tree.broker.run();
    expect(tree.root.router.stats()).toEqual([]);
    expect(a.router.stats()).toEqual([]);
  });

  it('of log records is limited at each hop', () => {
    const tree = new LiveTree({ quotas: { logs: { burst: 10, perSecond: 1 } } });
    const [relay, flood] = tree.chain(tree.root, 2);
    const other = tree.born(relay!);
    const got = tree.root.listen(FORWARD_LOG);
    for (let index = 0; index < 1000; index++) flood!.send(0, FORWARD_LOG, 'x');
    other.send(0, FORWARD_LOG, 'y');
    tree.broker.run();
    expect(got.filter((text) => text.startsWith(`${String(flood!.id)}:`)).length).toBe(10);
    expect(got).toContain(`${String(other.id)}: y`);
    expect(relay!.router.stats().find(({ id }) => id === flood!.id)?.dropped['over-quota']).toBe(990);
    expect(relay!.warnings.length).toBe(1);
  });
});
