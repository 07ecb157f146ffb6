import { execFile } from 'node:child_process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import type { MasterOptions } from 'tendril';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import type { ModuleBatch, ModuleRecord } from '../src/core/importer/records.ts';
import { hasParentAuthority } from '../src/core/mailbox/policy.ts';
import { LOAD_MODULE } from '../src/core/wire/handles.ts';
import { decodeValue } from '../src/core/wire/values.ts';
import { cutCodeCaches, joinCodeCaches, unpackRecords } from '../src/importer/batch.ts';
import { codeCacheOf, compileModule } from '../src/importer/compiling.ts';
import { CodeCaches } from '../src/master/modules/code-caches.ts';
import { ModuleResponder } from '../src/master/modules/responder.ts';
import type { ResponderTarget } from '../src/master/modules/responder.ts';
import { ModuleForwarder } from '../src/parent/modules/module-forwarder.ts';
import { remote, withFiles } from './support/application.ts';
import type { Files } from './support/application.ts';
import { layOutIdentityApp } from './support/identity-app.ts';
import { nodesToTry } from './support/installed.ts';
import { first, watchForLeaks, withTree } from './support/tree.ts';
import { VirtualTree } from './support/virtual-tree.ts';

const FIXTURE = fileURLToPath(new URL('fixtures/code-caches.mjs', import.meta.url));
const LIBRARY = new URL('../dist/index.js', import.meta.url).href;
const SUITE_MS = 120_000;
const NOTHING = new Uint8Array(0);

const commonJs = (source: string, id = 'file:///app/a.cjs'): ModuleRecord => [id, 'commonjs', Buffer.from(source), {}, {}, [], null];
const rejected = (compiled: unknown): boolean | undefined => (compiled as { cachedDataRejected?: boolean }).cachedDataRejected;

/** What arrives as LOAD_MODULE at a context from now on. */
function batchesAt(tree: VirtualTree, id: number): ModuleBatch[] {
  const batches: ModuleBatch[] = [];
  tree.node(id).router.addHandler(LOAD_MODULE, { policy: hasParentAuthority, deliver: ({ data, tail }) => { batches.push(decodeValue(data, tail) as ModuleBatch); } });
  return batches;
}

/** What one child got and what came of it. */
interface Loaded {
  readonly results: Readonly<Record<string, unknown>>;
  readonly codeCacheBytes: number;
}

describe('modules in a child that got code caches', () => {
  const app = layOutIdentityApp();

  watchForLeaks();

  afterAll(() => {
    app.remove();
  });

  it.each(nodesToTry())('see of themselves what they see without, on $name ($version)', async ({ path }) => {
    const { stdout } = await promisify(execFile)(path, ['--no-warnings', FIXTURE, LIBRARY, app.suite.href], { env: { ...process.env, NODE_OPTIONS: undefined }, maxBuffer: 1 << 24 });
    const { without, with: cached } = JSON.parse(stdout) as { without: Loaded; with: Loaded };
    expect(cached.codeCacheBytes).toBeGreaterThan(without.codeCacheBytes);
    expect(Object.keys(without.results).length).toBeGreaterThan(60);
    expect(cached.results).toEqual(without.results);
  }, SUITE_MS);
});

const APP: Files = {
  'package.json': '{"name":"app"}',
  'main.cjs': `const late = () => import('./late.mjs');
let broken;
try { require('./broken.cjs'); } catch (error) { broken = error.name; }
exports.go = async () => {
  try { require('./thrower.cjs').fail(); } catch (error) {
    return [broken, error.stack.split('\\n').slice(0, 3), (await late()).default, exports.go.toString().length];
  }
};`,
  'thrower.cjs': `

exports.fail = function fail() {
  throw new RangeError('here');
};`,
  'broken.cjs': 'exports = {',
  'late.mjs': "import { strictEqual } from 'node:assert'; strictEqual(1, 1); export default 'late';",
};

/** Runs `go` of the application in new children until one has got more than the first, or `children` times. */
async function inChildren(options: MasterOptions, how: { readonly env?: Readonly<Record<string, string>>; readonly nodePath?: readonly string[] }, children: number): Promise<{ readonly value: unknown; readonly codeCacheBytes: number }[]> {
  const loaded: { value: unknown; codeCacheBytes: number }[] = [];
  await withFiles(APP, (directory) =>
    withTree(options, async ({ master }) => {
      while (loaded.length < children && loaded.every(({ codeCacheBytes }) => codeCacheBytes === loaded[0]?.codeCacheBytes)) {
        const kid = master.local(how);
        const value = await first(remote(kid, join(directory, 'main.cjs'), 'go'));
        loaded.push({ value: JSON.parse(JSON.stringify(value).replaceAll(directory, '')) as unknown, codeCacheBytes: master.stats().get(kid.id)?.codeCacheBytes ?? 0 });
        await kid.shutdown();
      }
    }));
  return loaded;
}

describe('code caches of a master', () => {
  watchForLeaks();

  it('go to later children, in which errors, stacks and import() are the same', async () => {
    const loaded = await inChildren({}, {}, Infinity);
    expect(loaded[0]?.value).toEqual(['SyntaxError', ['RangeError: here', expect.stringContaining('(/dev/null/tendril/thrower.cjs:4:9)'), '    at exports.go (/dev/null/tendril/main.cjs:5:34)'], 'late', expect.any(Number)]);
    expect(loaded.at(-1)?.value).toEqual(loaded[0]?.value);
  });

  it('go to a child that is given the path of this very Node', async () => {
    const loaded = await inChildren({}, { nodePath: [process.execPath] }, Infinity);
    expect(loaded.at(-1)?.codeCacheBytes).toBeGreaterThan(loaded[0]?.codeCacheBytes ?? 0);
  });

  it('do not hurt a child whose V8 was started with other options, and refuses them', async () => {
    const loaded = await inChildren({}, { env: { NODE_OPTIONS: '--stack-trace-limit=20' } }, Infinity);
    expect(loaded.at(-1)?.value).toEqual(loaded[0]?.value);
  });

  it('do not go to a child that is started by another command', async () => {
    const loaded = await inChildren({}, { nodePath: ['env', process.execPath] }, 4);
    expect(loaded.map(({ codeCacheBytes }) => codeCacheBytes)).toEqual([0, 0, 0, 0]);
  });

  it('are accepted, whatever kind of module it is', () => {
    const modules: ModuleRecord[] = [
      commonJs('exports.a = () => 1;'),
      commonJs("exports.late = () => $tndrl('./b.mjs');"),
      ['file:///app/b.mjs', 'module', Buffer.from('return function* () { $tndrl_exports({ a: () => $tndrl_0.a }); yield; };'), {}, {}, [], { imports: [['./a.mjs', ['a'], null]], reexports: [], stars: [], async: false }],
    ];
    for (const record of modules) {
      const cache = codeCacheOf(record);
      expect(cache?.length).toBeGreaterThan(100);
      expect(rejected(compileModule(record, cache))).toBe(false);
    }
    expect(compileModule(modules[1]!, undefined)).toHaveLength(6);
    expect(codeCacheOf(['file:///app/a.json', 'json', Buffer.from('{}'), {}, {}, [], null])).toBeUndefined();
    expect(codeCacheOf(commonJs('exports = {'))).toBeUndefined();
  });

  it('that V8 refuses are as good as none', () => {
    const record = commonJs('module.exports = 5;');
    const cache = Buffer.from(codeCacheOf(record) ?? NOTHING);
    // The version of V8, the length of the source, and the hash of the options are in the first words.
    for (const at of [0, 4, 8]) {
      const other = Buffer.from(cache);
      other.writeUInt8(other.readUInt8(at) ^ 0xff, at);
      const compiled = compileModule(record, other);
      expect(rejected(compiled)).toBe(true);
      const module = { exports: {} as unknown };
      compiled(module.exports, undefined, module);
      expect(module.exports).toBe(5);
    }
    // Of another source.
    expect(rejected(compileModule(commonJs('module.exports = 5000;'), cache))).toBe(true);
  });

  it('are made when the modules have gone, one in each turn, and up to a limit', () => {
    const broker = new VirtualBroker();
    const records = ['a', 'b', 'c'].map((name) => commonJs(`exports.${name} = function () { return '${name.repeat(50)}'; };`, `file:///app/${name}.cjs`));
    const [a = 0, b = 0, c = 0] = records.map((record) => codeCacheOf(record)?.length);
    expect(c).toBeGreaterThan(100);
    const caches = new CodeCaches(broker, a + b + 50);
    expect(caches.of(records, NOTHING)).toBeUndefined();
    broker.run();
    const cut = cutCodeCaches(caches.of(records, NOTHING) ?? NOTHING, 3);
    expect(cut.map((cache) => cache !== undefined)).toEqual([true, true, false]);
  });

  it('are joined once for a batch', () => {
    const broker = new VirtualBroker();
    const caches = new CodeCaches(broker);
    const record = commonJs('exports.a = 1;');
    caches.of([record], NOTHING);
    broker.run();
    expect(caches.of([record], NOTHING)?.length).toBeGreaterThan(100);
    expect(caches.of([record], NOTHING)).toBe(caches.of([record], NOTHING));
  });

  it('are not made of what a child may have written', () => {
    const broker = new VirtualBroker();
    const caches = new CodeCaches(broker);
    for (const id of ['data:text/javascript,1', 'file:///app/a.cjs?1']) {
      const record = commonJs('exports.a = 1;', id);
      caches.of([record], NOTHING);
      broker.run();
      expect(caches.of([record], NOTHING)).toBeUndefined();
    }
  });

  it('are not made any more when the master has ended', () => {
    const broker = new VirtualBroker();
    const caches = new CodeCaches(broker);
    const record = commonJs('exports.a = 1;');
    caches.of([record], NOTHING);
    caches.close();
    broker.run();
    expect(caches.of([record], NOTHING)).toBeUndefined();
  });

  it('are cut as they were joined', () => {
    const some = [Buffer.from('abc'), undefined, NOTHING, Buffer.from('d')];
    expect(cutCodeCaches(joinCodeCaches(some), 4).map((cache) => cache && Buffer.from(cache).toString())).toEqual(['abc', undefined, undefined, 'd']);
  });
});

describe('what goes over the links', () => {
  const same: ResponderTarget = { id: 1, name: 'one', nodeVersion: process.version, sameNode: true };

  /** The LOAD_MODULE of each of some contexts, which are served one after another. */
  async function batchesFor(targets: readonly ResponderTarget[]): Promise<ModuleBatch[][]> {
    const all: ModuleBatch[][] = [];
    await withFiles({ 'package.json': '{}', 'a.cjs': "require('./b.cjs');", 'b.cjs': 'exports.b = () => 1;' }, (directory) => {
      const tree = new VirtualTree({ shape: targets.map(() => 0) });
      const responder = new ModuleResponder(tree.node(0).router, {}, (number) => targets.find(({ id }) => id === number), () => undefined);
      for (const target of targets) {
        const batches = batchesAt(tree, target.id);
        responder.prepare(target, { module: pathToFileURL(join(directory, 'a.cjs')).href, className: null, name: 'x' });
        tree.broker.run();
        all.push(batches);
      }
      expect(tree.faults).toEqual([]);
      return Promise.resolve();
    });
    return all;
  }

  it('is what it always was for other children, and more for those of the same Node', async () => {
    const [firstOnes, secondOnes, ofOtherCommand, ofOtherVersion] = await batchesFor([same, { ...same, id: 2 }, { ...same, id: 3, sameNode: false }, { ...same, id: 4, nodeVersion: 'v20.19.0' }]);
    expect(firstOnes?.map(({ length }) => length)).toEqual([4, 3]);
    expect(secondOnes?.map(({ length }) => length)).toEqual([4, 4]);
    for (const batches of [ofOtherCommand, ofOtherVersion]) expect(batches?.map(({ length }) => length)).toEqual([3, 3]);
    const [, , packed, caches = NOTHING] = secondOnes?.[1] ?? ['native', null, NOTHING];
    const records = unpackRecords(packed);
    cutCodeCaches(caches, records.length).forEach((cache, index) => {
      expect(rejected(compileModule(records[index]!, cache))).toBe(false);
    });
    expect(firstOnes?.[1]?.[2]).toEqual(packed);
  });

  it('leaves code caches out where a message cannot carry them', async () => {
    // Larger than what a message may have, with a source that is not.
    const source = `exports.all = [${Array.from({ length: 4000 }, (_, index) => `(function () { return ${String(index)} + this.x${String(index % 7)}; })`).join(',\n')}];`;
    expect(codeCacheOf(commonJs(source))?.length).toBeGreaterThan(256 * 1024);
    await withFiles({ 'package.json': '{}', 'a.cjs': source }, (directory) => {
      const tree = new VirtualTree({ shape: [0, 0], maxMessageSize: 256 * 1024 });
      const responder = new ModuleResponder(tree.node(0).router, {}, (id) => ({ ...same, id }), () => undefined);
      for (const id of [1, 2]) {
        const batches = batchesAt(tree, id);
        responder.prepare({ ...same, id }, { module: pathToFileURL(join(directory, 'a.cjs')).href, className: null, name: 'x' });
        tree.broker.run();
        expect(batches.map(({ length }) => length)).toEqual([4, 3]);
      }
      return Promise.resolve();
    });
  });

  it('is not handed on by an intermediate', async () => {
    await withFiles({ 'package.json': '{}', 'a.cjs': 'exports.a = 1;' }, (directory) => {
      const tree = new VirtualTree({ shape: [0, 1, 1] });
      const responder = new ModuleResponder(tree.node(0).router, {}, (id) => ({ ...same, id }), () => undefined);
      new ModuleForwarder(tree.node(1).router, 'rendered');
      for (const id of [2, 3]) {
        const batches = batchesAt(tree, id);
        responder.prepare({ ...same, id }, { module: pathToFileURL(join(directory, 'a.cjs')).href, className: null, name: 'x' });
        tree.broker.run();
        expect(batches.map(({ length }) => length)).toEqual([3, 3]);
      }
      return Promise.resolve();
    });
  });
});
