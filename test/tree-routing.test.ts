import { describe, expect, it } from '@jest/globals';
import type { ChannelError } from '../src/core/errors.ts';
import { Mailbox } from '../src/core/mailbox/mailbox.ts';
import { hasParentAuthority } from '../src/core/mailbox/policy.ts';
import { CALL_FUNCTION, FORWARD_MODULE, LOAD_MODULE, LOAD_RESOURCE, SHUTDOWN } from '../src/core/wire/handles.ts';
import { deadError, encodeValue } from '../src/core/wire/values.ts';
import { LiveTree, dataCentres, deadTexts, expectLiveRoutes } from './support/live-tree.ts';

const OPEN = 2000;
const REPLY = 0x2000_0000;

describe('routes of a tree', () => {
  it('are known at each hop between a context and the master, and nowhere else', () => {
    const { tree, master, bastion, left, right } = dataCentres();
    expectLiveRoutes(tree);
    expect(tree.routes(master).size).toBe(9);
    expect(tree.routes(left[0]!).size).toBe(3);
    expect(right[0]!.router.table.get(left[3]!.id)).toBeUndefined();
    expect(bastion.routing?.routes.nameOf(left[3]!.id)).toBe(`c${String(left[3]!.id)}`);
    expect(tree.faults).toEqual([]);
  });

  it('lead between any two contexts by way of the nearest that is above both', () => {
    const { tree, master, left, right } = dataCentres();
    const [from, to] = [right[3]!, left[3]!];
    const got = to.listen(OPEN);
    let seen = 0;
    const { receive } = master.router;
    master.router.receive = (batch, stream) => {
      seen += batch.filter(({ handle }) => handle === OPEN).length;
      receive.call(master.router, batch, stream);
    };
    from.send(to.id, OPEN, 'from rack to rack');
    tree.broker.run();
    expect(got).toEqual([`${String(from.id)}: from rack to rack`]);
    expect(seen).toBe(0);
  });

  it('carry messages both ways between all pairs, in order (REFERENCE 256)', () => {
    const { tree, all } = dataCentres();
    const received = all.map((node) => node.listen(OPEN));
    for (const [index] of ['first', 'second'].entries()) for (const from of all) for (const to of all) from.send(to.id, OPEN, String(index));
    tree.broker.run();
    for (const got of received) {
      expect(got.length).toBe(2 * all.length);
      for (const { id } of all) expect(got.filter((text) => text.startsWith(`${String(id)}: `))).toEqual([`${String(id)}: 0`, `${String(id)}: 1`]);
    }
  });

  it('are announced before the first message of a context: its answer finds its way at once', () => {
    const tree = new LiveTree();
    const [, , parent] = tree.chain(tree.root, 3);
    const got = tree.root.listen(OPEN);
    const birth = tree.connect(parent!);
    const early = tree.broker.after(0, function speak() {
      if (birth.node === undefined) tree.broker.after(1, speak);
      else birth.node.send(0, OPEN, 'I am here');
    });
    tree.broker.run();
    early.unsubscribe();
    expect(got).toEqual([`${String(birth.node!.id)}: I am here`]);
  });

  it('take what is for a context that is still connecting, which gets it then', () => {
    const tree = new LiveTree();
    const [parent] = tree.chain(tree.root, 1);
    const routing = parent!.raise();
    let id = 0;
    routing.ids.allocate().subscribe((allocated) => { id = allocated; });
    tree.broker.run();
    const node = tree.attach(parent!, id);
    const got = node.listen(OPEN);
    tree.broker.run();
    tree.root.send(id, OPEN, 'waited');
    tree.broker.run();
    expect(got).toEqual(['0: waited']);
  });

  it('end at every hop, at once, when a context ends, and with it all that is behind it', () => {
    const { tree, master, bastion, left } = dataCentres();
    left[1]!.uplink!.lose();
    tree.broker.run();
    expectLiveRoutes(tree);
    expect([master, bastion, left[0]!].map((node) => tree.routes(node).size)).toEqual([6, 5, 0]);
    expect(left.map(({ alive }) => alive)).toEqual([true, false, false, false]);
    expect([master, bastion].map(({ routing }) => routing!.routes.size)).toEqual([6, 5]);
  });

  it('answer what is for a context that never was where the way ends (REFERENCE 8, 23), and what is for no handle where the context is (REFERENCE 22)', () => {
    const { tree, master, left, right } = dataCentres();
    const [unknown, noHandle] = [deadTexts(left[3]!, REPLY, 4000), deadTexts(left[3]!, REPLY + 1, right[3]!.id)];
    left[3]!.send(4000, OPEN, 'anyone?', REPLY);
    left[3]!.send(right[3]!.id, OPEN, 'anyone?', REPLY + 1);
    master.router.table.add(4001, master.streams.get(left[0]!.parent!.id)!);
    const astray = deadTexts(master, REPLY, 4001);
    master.send(4001, OPEN, 'anyone?', REPLY);
    tree.broker.run();
    expect([unknown, noHandle, astray]).toEqual([['no route to 4000, my ID is 0'], ['invalid handle 2000'], [`no route to 4001, my ID is ${String(left[0]!.parent!.id)}`]]);
  });
});

describe('the end of a context', () => {
  it('settles pending calls to it and mailboxes with it everywhere: above, beside and far away (REFERENCE 136, 138)', () => {
    const { tree, master, bastion, left, right, all } = dataCentres();
    const dead = left[3]!;
    dead.listen(OPEN);
    const quiet = tree.born(right[0]!);
    const waiters = all.filter((node) => !left[1]!.subtree.includes(node)).map((node) => {
      const ends: string[] = [];
      node.listen(REPLY, { respondent: dead.id }, (message) => ends.push(deadError(message.data).reason));
      node.send(dead.id, OPEN, 'and?', REPLY);
      const mailbox = new Mailbox<string>(node.scope, dead.id, 3000);
      mailbox.subscribe({ error: (error: ChannelError) => ends.push(`mailbox: ${error.reason}`) });
      return ends;
    });
    const listener: string[] = [];
    new Mailbox<string>(quiet.scope, dead.id, 3001).subscribe({ next: (value) => listener.push(value), error: (error: ChannelError) => listener.push(error.reason) });
    dead.send(quiet.id, 3001, Buffer.from(encodeValue('heard').data).toString());
    tree.broker.run();
    expect(listener).toEqual(['heard']);
    // The intermediate of its intermediate goes.
    left[1]!.uplink!.lose();
    tree.broker.run();
    expect(waiters.map((ends) => [...ends].sort())).toEqual(waiters.map(() => ['mailbox: respondent-gone', 'respondent-gone']));
    // One that had only heard from it is told as well.
    expect(listener).toEqual(['heard', 'respondent-gone']);
    for (const node of [master, bastion, left[0]!, ...right]) expect([node.id, node.alive]).toEqual([node.id, true]);
    expect(tree.faults).toEqual([]);
  });

  it('in order, by SHUTDOWN from a parent further up, does the same', () => {
    const { tree, master, left, right } = dataCentres();
    const ends = right[3]!.listen(REPLY, { respondent: left[2]!.id });
    left[2]!.listen(OPEN);
    right[3]!.send(left[2]!.id, OPEN, 'and?', REPLY);
    tree.broker.run();
    master.send(left[2]!.id, SHUTDOWN, '');
    tree.broker.run();
    expect(ends).toEqual(['[respondent-gone]']);
    expect([left[1]!, left[2]!, left[3]!].map(({ alive }) => alive)).toEqual([true, false, false]);
    expectLiveRoutes(tree);
  });

  it('is told to whoever knows of it, however many contexts that peer has sent to', () => {
    const tree = new LiveTree();
    const [asker, answerer] = [tree.born(tree.root), tree.born(tree.root)];
    answerer.listen(OPEN);
    const ends = asker.listen(REPLY, { respondent: answerer.id });
    const relay = tree.born(tree.root);
    const far = tree.born(relay);
    const farEnds = far.listen(REPLY, { respondent: answerer.id });
    for (const node of [asker, far]) {
      node.send(answerer.id, OPEN, 'and?', REPLY);
      for (let id = 1000; id < 20_000; id++) node.send(id, OPEN, '');
    }
    tree.broker.run();
    answerer.uplink!.lose();
    tree.broker.run();
    expect([ends, farEnds]).toEqual([['[respondent-gone]'], ['[respondent-gone]']]);
  });
});

describe('authority', () => {
  it('to call, end and feed a context belongs to its parents alone: siblings, cousins and children are refused (REFERENCE 249, S2, S3)', () => {
    const { tree, master, bastion, left, right } = dataCentres();
    const sibling = tree.born(left[1]!);
    const victim = left[2]!;
    const handles = [CALL_FUNCTION, LOAD_MODULE, FORWARD_MODULE, LOAD_RESOURCE];
    const received = handles.map((handle) => victim.listen(handle, { policy: hasParentAuthority }));
    const refusals: string[] = [];
    const strangers = [sibling, ...right, left[3]!];
    for (const from of strangers) {
      from.listen(REPLY, { respondent: victim.id }, (message) => refusals.push(deadError(message.data).reason));
      for (const handle of [...handles, SHUTDOWN]) from.send(victim.id, handle, 'please', REPLY);
    }
    tree.broker.run();
    expect(received).toEqual(handles.map(() => []));
    expect(refusals).toEqual(Array.from({ length: strangers.length * 5 }, () => 'refused-by-policy'));
    expect(victim.alive).toBe(true);
    for (const from of [master, bastion, left[0]!, left[1]!]) for (const handle of handles) from.send(victim.id, handle, 'now');
    tree.broker.run();
    for (const got of received) expect(got.length).toBe(4);
  });

  it('to answer belongs to the respondent alone, at any distance (REFERENCE 245, S5)', () => {
    const { tree, left, right } = dataCentres();
    const got = left[3]!.listen(REPLY, { respondent: right[3]!.id });
    const told = deadTexts(right[2]!, REPLY, left[3]!.id);
    right[2]!.send(left[3]!.id, REPLY, 'I am the one', REPLY);
    left[2]!.send(left[3]!.id, REPLY, 'I am', 0);
    tree.broker.run();
    expect([got, told]).toEqual([[], ['reply from unexpected context']]);
    right[3]!.send(left[3]!.id, REPLY, 'me');
    tree.broker.run();
    expect(got).toEqual([`${String(right[3]!.id)}: me`]);
  });
});
