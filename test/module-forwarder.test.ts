import { mkdtempSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { ModuleAnswer, ModuleBatch, ModuleRequest, ResourceAnswer } from '../src/core/importer/records.ts';
import { hasParentAuthority } from '../src/core/mailbox/policy.ts';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { GET_MODULE, GET_RESOURCE, LOAD_MODULE, LOAD_RESOURCE } from '../src/core/wire/handles.ts';
import { decodeValue } from '../src/core/wire/values.ts';
import { unpackRecords } from '../src/importer/batch.ts';
import { ModuleResponder } from '../src/master/modules/responder.ts';
import { ModuleForwarder } from '../src/parent/modules/module-forwarder.ts';
import { sendValue } from '../src/parent/modules/send.ts';
import { VirtualTree } from './support/virtual-tree.ts';
import type { VirtualNode } from './support/virtual-tree.ts';

/** What arrived at a context: modules in their order, answers, files. */
class Received {
  readonly ids: string[] = [];
  readonly answers: ModuleAnswer[] = [];
  readonly resources: ResourceAnswer[] = [];

  constructor(node: VirtualNode) {
    node.router.addHandler(LOAD_MODULE, {
      policy: hasParentAuthority,
      deliver: ({ data, tail, replyTo }) => {
        if (replyTo === IS_DEAD) return;
        const [profile, answers, packed] = decodeValue(data, tail) as ModuleBatch;
        if (answers === null) {
          this.ids.push(`importer, ${profile}`);
          return;
        }
        this.answers.push(...answers);
        for (const [id] of unpackRecords(packed)) this.ids.push(id);
      },
    });
    node.router.addHandler(LOAD_RESOURCE, { policy: hasParentAuthority, deliver: ({ data, tail, replyTo }) => { if (replyTo !== IS_DEAD) this.resources.push(decodeValue(data, tail) as ResourceAnswer); } });
  }
}

const OLD = 'v20.20.0';
const PART = 'importer, rendered';

/** master 0 - context 1 - contexts 2 and 3, and 4 below 3. */
describe('modules over several hops (REFERENCE 1.2)', () => {
  let directory: string;
  let tree: VirtualTree;
  let responder: ModuleResponder;
  /** Frames with modules or files that the master has sent. */
  let fromMaster: number;

  const id = (name: string): string => pathToFileURL(join(directory, name)).href;
  const node = (number: number): VirtualNode => tree.node(number);
  const ask = (from: number, request: ModuleRequest): void => {
    sendValue(node(from).router, node(from).parent?.id ?? 0, GET_MODULE, request);
  };

  beforeEach(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'tendril-forward-')));
    const files: Record<string, string> = {
      'package.json': '{"name":"app"}',
      'a.cjs': "require('./b.cjs'); require('./c.cjs');",
      'b.cjs': "require('./c.cjs'); try { require('absent') } catch {}",
      'c.cjs': 'exports.c = 1;',
      'late.cjs': "require('./c.cjs');",
      'text.txt': 'a text',
      '../outside.txt': 'a secret',
    };
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      if (!name.startsWith('..')) writeFileSync(join(directory, name), text);
    }
    tree = new VirtualTree({ shape: [0, 1, 1, 3] });
    responder = new ModuleResponder(node(0).router, {}, (number) => (tree.nodes[number] ? { id: number, name: `c${String(number)}`, nodeVersion: OLD } : undefined), () => undefined);
    fromMaster = 0;
    const { left } = node(1).uplink!;
    const { note } = left;
    left.note = (message) => {
      if (message.handle === LOAD_MODULE || message.handle === LOAD_RESOURCE) fromMaster++;
      note?.(message);
    };
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it('pushes a closure through an intermediate ahead of a call, dependencies first', () => {
    new ModuleForwarder(node(1).router, 'rendered');
    const two = new Received(node(2));
    responder.prepare({ id: 2, name: 'two', nodeVersion: OLD }, { module: id('a.cjs'), className: null, name: 'x' });
    tree.broker.run();
    expect(two.ids).toEqual([PART, id('c.cjs'), id('b.cjs'), id('a.cjs')]);
    expect(fromMaster).toBe(2);
  });

  it('sends each module over each link once, to however many contexts below (REFERENCE 244)', () => {
    new ModuleForwarder(node(1).router, 'rendered');
    new ModuleForwarder(node(3).router, 'rendered');
    const received = [2, 4].map((number) => new Received(node(number)));
    for (const number of [2, 4, 2, 4]) responder.prepare({ id: number, name: 'x', nodeVersion: OLD }, { module: id('a.cjs'), className: null, name: 'x' });
    tree.broker.run();
    for (const { ids } of received) expect(ids).toEqual([PART, id('c.cjs'), id('b.cjs'), id('a.cjs')]);
    expect(fromMaster).toBe(2);
    expect(responder.stats(1)?.loads).toBe(3);
  });

  it('answers what an intermediate has had from there, and asks above for the rest, once for all who ask', () => {
    new ModuleForwarder(node(1).router, 'rendered');
    const [two, three] = [new Received(node(2)), new Received(node(3))];
    responder.prepare({ id: 2, name: 'two', nodeVersion: OLD }, { module: id('a.cjs'), className: null, name: 'x' });
    responder.prepare({ id: 3, name: 'three', nodeVersion: OLD }, { module: id('a.cjs'), className: null, name: 'x' });
    tree.broker.run();
    const before = fromMaster;
    ask(2, ['rendered', 'require', id('a.cjs'), './b.cjs']);
    ask(2, ['rendered', 'require', id('b.cjs'), 'absent']);
    tree.broker.run();
    expect(fromMaster).toBe(before);
    expect(two.answers).toEqual([['require', id('a.cjs'), './b.cjs', id('b.cjs')], ['require', id('b.cjs'), 'absent', null]]);
    for (const number of [2, 3]) ask(number, ['rendered', 'require', id('a.cjs'), './late.cjs']);
    ask(2, ['rendered', 'require', id('a.cjs'), './nothing']);
    tree.broker.run();
    // c.cjs is there already, so only the new module goes.
    for (const { ids } of [two, three]) expect(ids.slice(4)).toEqual([id('late.cjs')]);
    expect(two.answers.slice(2)).toEqual([['require', id('a.cjs'), './late.cjs', id('late.cjs')], ['require', id('a.cjs'), './nothing', null]]);
    expect(fromMaster - before).toBe(2);
    expect(responder.stats(1)).toMatchObject({ requests: 2, negatives: 1 });
    // What was answered once is known.
    ask(3, ['rendered', 'require', id('a.cjs'), './nothing']);
    tree.broker.run();
    expect(fromMaster - before).toBe(2);
    expect(three.answers.at(-1)).toEqual(['require', id('a.cjs'), './nothing', null]);
  });

  it('serves contexts of another version of Node than its own', () => {
    new ModuleForwarder(node(1).router, 'rendered');
    const [two, three] = [new Received(node(2)), new Received(node(3))];
    responder.prepare({ id: 2, name: 'two', nodeVersion: OLD }, { module: id('c.cjs'), className: null, name: 'x' });
    responder.prepare({ id: 3, name: 'three', nodeVersion: 'v24.1.0' }, { module: id('c.cjs'), className: null, name: 'x' });
    tree.broker.run();
    expect(two.ids).toEqual([PART, id('c.cjs')]);
    expect(three.ids).toEqual(['importer, native', id('c.cjs')]);
  });

  it('forwards files beside modules and keeps them, and nothing from outside', async () => {
    new ModuleForwarder(node(1).router, 'rendered');
    const [two, three] = [new Received(node(2)), new Received(node(3))];
    responder.prepare({ id: 2, name: 'two', nodeVersion: OLD }, { module: id('c.cjs'), className: null, name: 'x' });
    tree.broker.run();
    const settled = async (count: number, at: Received): Promise<void> => {
      // Files are read in real time; what comes of it travels in virtual time.
      while (at.resources.length < count) {
        tree.broker.run();
        await new Promise(setImmediate);
      }
    };
    sendValue(node(2).router, 1, GET_RESOURCE, ['read', join(directory, 'text.txt')]);
    await settled(1, two);
    sendValue(node(3).router, 1, GET_RESOURCE, ['read', join(directory, 'text.txt')]);
    await settled(1, three);
    for (const { resources } of [two, three]) expect(Buffer.from(resources[0]?.[3] as Uint8Array).toString()).toBe('a text');
    expect(responder.stats(1)?.requests).toBe(1);
    sendValue(node(2).router, 1, GET_RESOURCE, ['read', '/etc/passwd']);
    await settled(2, two);
    expect(two.resources[1]).toEqual(['read', '/etc/passwd', 'ENOENT', null]);
  });

  it('gives nothing for a request in the name of another, or of a wrong shape', () => {
    new ModuleForwarder(node(1).router, 'rendered');
    const two = new Received(node(2));
    node(2).inject(node(1), { dstId: 1, srcId: 3, handle: GET_MODULE, replyTo: 0, data: Buffer.from([0x80]) });
    for (const request of [[], ['rendered', 'eval', '', ''], ['other', 'id', '', ''], ['rendered', 'id', '', 5], 'text', ['rendered', 'id', '', 'x'.repeat(5000)]]) sendValue(node(2).router, 1, GET_MODULE, request);
    tree.broker.run();
    expect(two.ids).toEqual([]);
    expect(two.answers).toEqual([]);
    expect(fromMaster).toBe(0);
    expect(tree.faults).toHaveLength(6);
  });

  it('drops modules for a context that is gone (REFERENCE 175)', () => {
    new ModuleForwarder(node(1).router, 'rendered');
    new Received(node(2));
    node(2).die();
    tree.broker.run();
    responder.prepare({ id: 2, name: 'two', nodeVersion: OLD }, { module: id('c.cjs'), className: null, name: 'x' });
    tree.broker.run();
    expect(tree.faults).toEqual([]);
  });
});
