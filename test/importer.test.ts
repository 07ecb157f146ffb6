import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { toArray } from 'rxjs';
import type { Observable } from 'rxjs';
import * as library from 'tendril';
import type { Callable, ConnectedContext, Context, Master, ModuleStats } from 'tendril';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import { Throttle } from '../src/master/modules/throttle.ts';
import { withFiles } from './support/programs.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

type Run = (...args: unknown[]) => unknown;

/** An application in a directory of its own, and a child. RxJS is installed there. */
interface Application {
  readonly master: Master;
  readonly kid: ConnectedContext;
  readonly path: (name: string) => string;
  /** Calls an export of a file in the child. */
  readonly run: (name: string, fn: string, ...args: unknown[]) => Promise<unknown>;
  readonly logged: (text: string) => Promise<unknown>;
}

function withApplication(files: Record<string, string>, test: (app: Application) => Promise<void>): () => Promise<void> {
  return () =>
    withFiles({ 'package.json': '{"name":"app"}', ...files }, (directory) => {
      symlinkSync(fileURLToPath(new URL('../node_modules', import.meta.url)), join(directory, 'node_modules'));
      const path = (name: string): string => join(directory, name);
      return withTree({}, ({ master, logged }) => {
        const kid = master.local({ name: 'kid' });
        const run: Application['run'] = (name, fn, ...args) => first(callOf(kid, path(name), fn, ...args));
        return test({ master, kid, path, run, logged: (text) => logged(({ message }) => message.includes(text)) });
      });
    });
}

/** The call of an export of a file, which this process does not load. */
function callOf(context: Callable, path: string, fn: string, ...args: unknown[]): Observable<unknown> {
  const method = context.module<Record<string, Run>>(path)[fn];
  if (method === undefined) throw new Error(`no method ${fn}`);
  return method(...args);
}

function statsOf(master: Master, kid: Context): ModuleStats | undefined {
  return master.stats().get(kid.id);
}

describe('the importer', () => {
  watchForLeaks();

  it(
    'asks for nothing that is named literally, and once for what is computed (REFERENCE 170)',
    withApplication(
      {
        'main.mjs': "import './a.mjs'; import _ from './b.cjs'; export const none = () => 1; export const late = (name) => import(name).then((m) => m.default);",
        'a.mjs': "import './c.mjs';",
        'b.cjs': "try { require('not-there') } catch {}",
        'c.mjs': '',
        'late.mjs': "import './c.mjs'; import './d.mjs'; export default 'late';",
        'd.mjs': '',
      },
      async ({ master, kid, run }) => {
        expect(master.stats().size).toBe(0);
        await run('main.mjs', 'none');
        expect(statsOf(master, kid)).toMatchObject({ requests: 0, loads: 4, negatives: 0 });
        expect(await Promise.all([run('main.mjs', 'late', './late.mjs'), run('main.mjs', 'late', './late.mjs')])).toEqual(['late', 'late']);
        expect(statsOf(master, kid)).toMatchObject({ requests: 1, loads: 6, negatives: 0 });
      },
    ),
  );

  it(
    'remembers what is not there (REFERENCE 173)',
    withApplication({ 'main.cjs': "exports.go = (name) => { try { require(name) } catch (error) { return error.code } };" }, async ({ master, kid, run }) => {
      for (let time = 0; time < 3; time++) expect(await run('main.cjs', 'go', './absent')).toBe('MODULE_NOT_FOUND');
      expect(statsOf(master, kid)).toMatchObject({ requests: 1, negatives: 1 });
    }),
  );

  it(
    'packs for the first context and sends the same to the next',
    withApplication({ 'main.cjs': "require('./a.cjs'); exports.go = () => 1;", 'a.cjs': '' }, async ({ master, kid, run, path }) => {
      await run('main.cjs', 'go');
      const second = master.local({ name: 'second' });
      await first(callOf(second, path('main.cjs'), 'go'));
      expect(statsOf(master, second)).toMatchObject({ loads: 2, cacheHits: 1, bytes: statsOf(master, kid)?.bytes });
    }),
  );

  it(
    'is the running core for those who import tendril, with every name that the master has',
    withApplication(
      {
        'main.mjs': "import * as all from 'tendril'; import { createRequire } from 'node:module'; const required = createRequire(import.meta.url)('tendril'); import { self, currentCall, ConnectError, TendrilError } from 'tendril'; export const go = () => [Object.keys(all), required.self === self, self.id, currentCall().callerId, new ConnectError('X', 'y') instanceof TendrilError];",
      },
      async ({ kid, run }) => {
        const [names, same, id, callerId, error] = (await run('main.mjs', 'go')) as [string[], boolean, number, number, boolean];
        expect(names).toEqual(expect.arrayContaining(Object.keys(library)));
        expect([same, id, callerId, error]).toEqual([true, kid.id, 0, true]);
      },
    ),
  );

  it(
    'gives one RxJS to import and require, whose operators work on the mailboxes of the core',
    withApplication(
      {
        'main.mjs': "import { Observable, isObservable, map, take } from 'rxjs'; import { createRequire } from 'node:module'; import { self, anyContext } from 'tendril'; const other = createRequire(import.meta.url)('rxjs'); export const same = () => [Observable === other.Observable, map === other.map, isObservable(self.handle(5000))]; export const stream = () => self.handle(5001, { policy: anyContext }).pipe(map((n) => n * 2), take(2));",
      },
      async ({ kid, run, path }) => {
        expect(await run('main.mjs', 'same')).toEqual([true, true, true]);
        const values = first(callOf(kid, path('main.mjs'), 'stream').pipe(toArray()));
        // The first call's answer says that the second one, behind it, has not run; the third one's that it has.
        await run('main.mjs', 'same');
        const mailbox = kid.handle<number>(5001);
        mailbox.next(1);
        mailbox.next(2);
        expect(await values).toEqual([2, 4]);
      },
    ),
  );

  it(
    'pushes ahead of need (REFERENCE 1.2, FORWARD_MODULE)',
    withApplication({ 'main.cjs': "exports.go = (name) => require(name).value;", 'plugin.cjs': "exports.value = require('./deep.cjs') + 1;", 'deep.cjs': 'module.exports = 1;' }, async ({ master, kid, run, path }) => {
      master.responder.forward(kid, [path('plugin.cjs'), pathToFileURL(path('main.cjs'))]);
      expect(await run('main.cjs', 'go', './plugin.cjs')).toBe(2);
      expect(statsOf(master, kid)).toMatchObject({ requests: 0, loads: 3 });
      expect(() => { master.responder.forward(kid, ['no-such-package']); }).toThrow(/no-such-package/);
    }),
  );

  it(
    'drops a forward to a context that is gone, with a word in the log (REFERENCE 175)',
    withApplication({ 'main.cjs': '' }, async ({ master, kid, path, logged }) => {
      await kid.shutdown();
      master.responder.forward(kid, [path('main.cjs')]);
      await logged('dropping forward of');
    }),
  );

  it(
    'overrides and modifies sources, which keep their names (REFERENCE 177)',
    withApplication({ 'main.cjs': "exports.go = () => [require('./a.cjs'), require('./b.cjs').name]; // 1", 'a.cjs': "module.exports = 'file';", 'b.cjs': 'exports.name = __filename;' }, async ({ master, run, path }) => {
      master.responder.override(path('a.cjs'), "module.exports = 'override';");
      master.responder.modify(pathToFileURL(path('b.cjs')), (source, id) => `${source} exports.name += ${JSON.stringify(id)};`);
      expect(await run('main.cjs', 'go')).toEqual(['override', `/dev/null/tendril${path('b.cjs')}${pathToFileURL(path('b.cjs')).href}`]);
      expect(() => { master.responder.override('./a.cjs', ''); }).toThrow(/does not say which module/);
    }),
  );

  it(
    'runs modules in worker threads of a child, which ask for what they lack',
    withApplication(
      {
        'main.mjs': "import { Worker } from 'node:worker_threads'; export const go = (name) => new Promise((resolve, reject) => { new Worker(new URL(name, import.meta.url), { workerData: 20 }).on('message', resolve).on('error', reject); });",
        'worker.mjs': "import { parentPort, workerData } from 'node:worker_threads'; import fs from 'node:fs'; import { double } from './double.cjs'; const late = await import('./' + 'late.mjs'); parentPort.postMessage([double(workerData), late.default, fs.readFileSync(new URL('./text.txt', import.meta.url), 'utf8'), import.meta.url]);",
        'double.cjs': 'exports.double = (n) => 2 * n;',
        'late.mjs': "export default 'late';",
        'text.txt': 'a text',
        'throws.mjs': "throw new RangeError('in a worker');",
      },
      async ({ run, path }) => {
        expect(await run('main.mjs', 'go', './worker.mjs')).toEqual([40, 'late', 'a text', `file:///dev/null/tendril${path('worker.mjs')}`]);
        await expect(run('main.mjs', 'go', './throws.mjs')).rejects.toThrow('in a worker');
        await expect(run('main.mjs', 'go', './absent.mjs')).rejects.toThrow('Cannot find module');
      },
    ),
  );

  it('withholds the files of a denied directory by the name of a link too', () =>
    withFiles({ 'package.json': '{"name":"app"}', 'main.cjs': "const fs = require('fs'), path = require('path'); exports.read = (name) => { try { return fs.readFileSync(path.join(__dirname, name), 'utf8'); } catch (error) { return error.code; } };", 'secrets/key.txt': 'a secret', 'open.txt': 'open' }, (directory) => {
      symlinkSync('secrets', join(directory, 'link'));
      return withTree({ modules: { deny: [join(directory, 'secrets')] } }, async ({ master }) => {
        const kid = master.local();
        const read = (name: string): Promise<unknown> => first(callOf(kid, join(directory, 'main.cjs'), 'read', name));
        expect(await read('open.txt')).toBe('open');
        for (const name of ['secrets/key.txt', 'link/key.txt']) expect(await read(name)).toBe('ENOENT');
      });
    }));

  it(
    'fails the rest of a chain when the module of a call does not load (REFERENCE 253)',
    withApplication({ 'bad.cjs': 'throw new Error("at load");', 'good.cjs': 'globalThis.ran = true; exports.go = () => 1; exports.ran = () => globalThis.ran === true;' }, async ({ kid, run, path }) => {
      const chain = kid.chain();
      const bad = failure(callOf(chain, path('bad.cjs'), 'go'));
      const good = failure(callOf(chain, path('good.cjs'), 'go'));
      expect((await bad).message).toBe('at load');
      expect((await good).message).toBe('at load');
      expect(await run('good.cjs', 'ran')).toBe(true);
    }),
  );
});

describe('the throttle of requests', () => {
  it('lets a burst through, then so many a second, and refuses what would wait behind too much', () => {
    const broker = new VirtualBroker();
    const throttle = new Throttle(broker, { burst: 3, perSecond: 10, queue: 2 });
    const done: number[] = [];
    const taken = [1, 2, 3, 4, 5, 6].map((n) => throttle.run(() => done.push(n)));
    expect(taken).toEqual([true, true, true, true, true, false]);
    expect(done).toEqual([1, 2, 3]);
    broker.advance(100);
    expect(done).toEqual([1, 2, 3, 4]);
    broker.advance(100);
    expect(done).toEqual([1, 2, 3, 4, 5]);
    // After a pause there is a burst again, and no more than that.
    broker.advance(10_000);
    expect([7, 8, 9, 10].map((n) => throttle.run(() => done.push(n)))).toEqual([true, true, true, true]);
    expect(done).toEqual([1, 2, 3, 4, 5, 7, 8, 9]);
    broker.run();
    expect(done.at(-1)).toBe(10);
  });
});
