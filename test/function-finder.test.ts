import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { UsageError } from 'tendril';
import type { RemoteFunction } from 'tendril';
import { callersOf, findFunction } from '../src/master/modules/function-finder.ts';
import { cases, run } from './fixtures/finder/cases.mjs';
import * as refused from './fixtures/finder/refused.mjs';
import { runNode, withFiles } from './support/programs.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const fixtures = join(root, 'test/fixtures/finder');
const finder = join(root, 'dist/master/modules/function-finder.js');
const expected = cases.map(([label, , file, place]) => [label, file, place]);

describe('from a function to its module', () => {
  it('finds every kind of export, under jest', () => {
    const found = run({ callersOf, findFunction });
    expect(found.map(([file, place], index) => [cases[index]?.[0], file, place])).toEqual(expected);
  });

  it('finds every kind of export in plain Node, evaluates nothing, runs no getter, and warns of nothing', async () => {
    const { stdout, stderr } = await runNode([join(fixtures, 'probe.mjs')]);
    const { found, warnings, trap } = JSON.parse(stdout) as { found: [string, string][]; warnings: string[]; trap: number };
    expect(found.map(([file, place], index) => [cases[index]?.[0], file, place])).toEqual(expected);
    expect({ warnings, trap, stderr }).toEqual({ warnings: [], trap: 0, stderr: '' });
  });

  const TYPESCRIPT = ['tasks.ts plain', 'tasks.ts arrow', 'tasks.ts default', 'tasks.ts renamed', 'tasks.ts Svc.ping', 'tasks.ts Svc.field', 'tasks.ts Derived.inherited', 'tasks.ts wrapped', 'tasks.ts plain', 'probe.ts own', 'ERR_TENDRIL_NOT_CALLABLE'];

  it.each(['module', 'commonjs'])('finds functions of TypeScript that tsx runs in a package of type %s', (type) =>
    withFiles({ 'package.json': JSON.stringify({ type }) }, async (directory) => {
      cpSync(join(fixtures, 'ts'), directory, { recursive: true });
      const { stdout } = await runNode([join(root, 'node_modules/tsx/dist/cli.mjs'), join(directory, 'probe.ts'), pathToFileURL(finder).href]);
      expect(JSON.parse(stdout)).toEqual(TYPESCRIPT);
    }));

  // Node strips types by itself from 22.18 on; tools/node-matrix.js tries those versions.
  const stripping = (process.features as { typescript?: unknown }).typescript ? it : it.skip;
  if (stripping === it.skip) process.stderr.write(`SKIPPED a test: Node ${process.versions.node} does not run TypeScript by itself\n`);
  stripping('finds functions of TypeScript that Node itself runs', async () => {
    const { stdout } = await runNode(['--disable-warning=ExperimentalWarning', join(fixtures, 'ts/probe.ts'), pathToFileURL(finder).href]);
    expect(JSON.parse(stdout)).toEqual(TYPESCRIPT);
  });

  it('finds functions of CommonJS and ES modules in a CommonJS test of jest', () =>
    withFiles(
      {
        'package.json': JSON.stringify({ jest: { testEnvironment: 'node' } }),
        'tasks.js': 'exports.plain = function plain() {};\nclass Svc { static ping() {} }\nexports.Service = Svc;\nexports.wrapped = ((fn) => () => fn())(() => 1);',
        'tasks.mjs': 'export const wrapped = ((fn) => () => fn())(() => 1);\nexport default () => 2;',
        'a.test.js': `
          const tasks = require('./tasks.js');
          test('finds', async () => {
            const { callersOf, findFunction } = await import(${JSON.stringify(finder)});
            const esm = await import('./tasks.mjs');
            const find = (fn) => { const { module, className, name } = findFunction(fn, callersOf(fn)); return [module.split('/').pop(), className, name].join(' '); };
            expect([tasks.plain, tasks.Service.ping, tasks.wrapped, esm.wrapped, esm.default, require('os').hostname].map(find)).toEqual(
              ['tasks.js  plain', 'tasks.js Service ping', 'tasks.js  wrapped', 'tasks.mjs  wrapped', 'tasks.mjs  default', 'node:os  hostname']);
            jest.resetModules();
            const again = require('./tasks.js');
            jest.resetModules();
            const third = require('./tasks.js');
            expect(() => find(again.plain)).toThrow('exports another function by that name');
            expect(find(third.wrapped)).toBe('tasks.js  wrapped');
            jest.resetModules();
            expect(find(third.plain)).toBe('tasks.js  plain');
          });`,
      },
      async (directory) => {
        await runNode(['--experimental-vm-modules', join(root, 'node_modules/jest/bin/jest.js')], { cwd: directory });
      },
    ));

  it('finds functions of packages in nested node_modules, by symbolic links, and with a query, as the files that they really are', () =>
    withFiles(
      {
        'package.json': '{ "type": "module" }',
        'node_modules/one/package.json': '{ "exports": "./main.cjs" }',
        'node_modules/one/main.cjs': "exports.outer = () => 1; exports.inner = require('two').inner;",
        'node_modules/one/node_modules/two/index.js': 'exports.inner = () => 2;',
        'packages/three/package.json': '{ "type": "module", "exports": { "import": "./three.js" } }',
        'packages/three/three.js': 'export const linked = () => 3;',
        'tasks.js': 'export const queried = () => 4;',
        'main.js': `
          import { outer, inner } from 'one';
          import { linked } from 'three';
          import { queried } from './tasks.js?version=2';
          import { callersOf, findFunction } from ${JSON.stringify(finder)};
          const here = new URL('.', import.meta.url).href;
          console.log(JSON.stringify([outer, inner, linked, queried].map((fn) => { const { module, name } = findFunction(fn, callersOf(fn)); return [module.slice(here.length), name].join(' '); })));`,
      },
      async (directory) => {
        symlinkSync(join(directory, 'packages/three'), join(directory, 'node_modules/three'));
        const { stdout } = await runNode(['main.js'], { cwd: directory });
        expect(JSON.parse(stdout)).toEqual(['node_modules/one/main.cjs outer', 'node_modules/one/node_modules/two/index.js inner', 'packages/three/three.js linked', 'tasks.js queried']);
      },
    ));

  it('evaluates no module, and no module twice, also while modules are being evaluated', () =>
    withFiles(
      {
        'early.mjs': `
          import { late } from './late.mjs';
          import { find } from './find.mjs';
          globalThis.log.push('early', find(late));
          export const early = () => 1;`,
        'late.mjs': `
          import './early.mjs';
          globalThis.log.push('late');
          export function late() {}`,
        'never.mjs': "globalThis.log.push('never'); export const never = () => 1;",
        'find.mjs': `
          import { callersOf, findFunction } from ${JSON.stringify(finder)};
          globalThis.log = [];
          export function find(fn) { const { module, name } = findFunction(fn, callersOf(fn)); return module.split('/').pop() + ' ' + name; }`,
        'main.mjs': `
          import { find } from './find.mjs';
          import { early } from './early.mjs';
          import { late } from './late.mjs';
          export function own() {}
          globalThis.log.push(find(early), find(late), find(own));
          await null;
          export const after = () => 1;
          globalThis.log.push(find(after));
          if (globalThis.log.length > 1000) await import('./never.mjs');
          console.log(JSON.stringify(globalThis.log));`,
      },
      async (directory) => {
        const { stdout } = await runNode(['main.mjs'], { cwd: directory });
        expect(JSON.parse(stdout)).toEqual(['late', 'early', 'late.mjs late', 'early.mjs early', 'late.mjs late', 'main.mjs own', 'main.mjs after']);
      },
    ));

  it('does not evaluate a module before its turn, when a function runs ahead of its own module in a circle', () =>
    withFiles(
      {
        'log.mjs': `
          import { callersOf, findFunction } from ${JSON.stringify(finder)};
          export const log = [];
          export function find(fn) { const { module, name } = findFunction(fn, callersOf(fn)); return module.split('/').pop() + ' ' + name; }`,
        'main.mjs': `
          import { find, log } from './log.mjs';
          import './first.mjs';
          import { second } from './second.mjs';
          export function ahead() { log.push(find(second)); }
          log.push('main');
          console.log(JSON.stringify(log));`,
        'first.mjs': "import { log } from './log.mjs';\nimport { ahead } from './main.mjs';\nlog.push('first');\nahead();",
        'second.mjs': "import { log } from './log.mjs';\nlog.push('second');\nexport function second() {}",
      },
      async (directory) => {
        const { stdout } = await runNode(['main.mjs'], { cwd: directory });
        expect(JSON.parse(stdout)).toEqual(['first', 'second.mjs second', 'second', 'main']);
      },
    ));

  it('looks where call() is called, though it looks when the call is made', () =>
    withFiles(
      {
        'make.mjs': 'const made = new Map();\nexport function make(name) { made.set(name, () => name); return () => made.get(name)(); }',
        'tasks.mjs': "import { make } from './make.mjs';\nexport const task = make('made elsewhere');",
        'wrap.mjs': 'export const callOn = (context, fn) => context.call(fn);',
        'main.mjs': `
          import { firstValueFrom, mergeMap, of } from 'rxjs';
          import { Master } from 'tendril';
          import { task } from './tasks.mjs';
          import { callOn } from './wrap.mjs';
          const master = new Master({ logger: false });
          const kid = master.local();
          console.log(await firstValueFrom(of(kid).pipe(mergeMap((context) => callOn(context, task)))));
          await master.shutdown();`,
      },
      async (directory) => {
        mkdirSync(join(directory, 'node_modules'));
        for (const [name, target] of [['tendril', root], ['rxjs', join(root, 'node_modules/rxjs')]] as const) symlinkSync(target, join(directory, 'node_modules', name));
        const { stdout } = await runNode(['main.mjs'], { cwd: directory });
        expect(stdout).toBe('made elsewhere\n');
      },
    ));

  it('remembers what it has found, and takes no stack for it', () => {
    const [, fn] = cases[0]!;
    const ref = findFunction(fn, callersOf(fn));
    expect(callersOf(fn)).toEqual([]);
    expect(findFunction(fn)).toBe(ref);
  });

  it('gives the files on the stack, without those of the library', () => {
    const unknown = (): void => undefined;
    const files = [1].flatMap(() => callersOf(unknown));
    expect(files[0]).toBe(fileURLToPath(import.meta.url));
    expect(files.every((file) => !file.startsWith(join(root, 'src')))).toBe(true);
  });
});

describe('a function that cannot be called', () => {
  const here = fileURLToPath(import.meta.url);
  const file = join(fixtures, 'refused.mjs');
  const base = 5;
  const added = (count: number): RemoteFunction => {
    return function adder(value: number): number {
      return value + count + base;
    };
  };
  const messageFor = (fn: unknown): string => {
    try {
      findFunction(fn as RemoteFunction, callersOf(fn as RemoteFunction));
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_NOT_CALLABLE' });
      return (error as Error).message;
    }
    throw new Error('it was found');
  };
  const EXPORT = 'Export a function from a module, and import it from there';

  it('a closure', () => {
    expect(messageFor(added(1))).toBe(`the function adder cannot be called in another context: it is a closure, made inside another function, and uses count, base of it. ${EXPORT}:
export function adder(count, base, ...) { ... }   // in a module; what it closes over becomes arguments
context.call(adder, count, base, ...)`);
  });

  it('a closure that a function of another file has made: it may be exported after all', () => {
    expect(messageFor(refused.closureOf(1, 2))).toBe(`the function counter cannot be called in another context: it was made by a function of ${file}, and no module that ${here} imports exports it. If a module exports it, say which:
const tasks = context.module<typeof import('./tasks.ts')>(new URL('./tasks.ts', import.meta.url));
tasks.counter(...)`);
  });

  it('a function that its module does not export', () => {
    expect(messageFor(refused.hiddenOf())).toBe(`the function hidden cannot be called in another context: ${file} does not export it. ${EXPORT}:
export function hidden(...) { ... }   // in ${file}
context.call(hidden, ...)`);
  });

  it('a static method of a class that its module does not export', () => {
    expect(messageFor(refused.staticOfPrivate())).toBe(`the function ping cannot be called in another context: its class Private is not exported from ${file}. Export the class, and import it from there:
export class Private { ... }   // in ${file}
context.call(Private.ping, ...)`);
  });

  it('an anonymous function', () => {
    expect(messageFor([(): number => base][0])).toBe(`an anonymous function cannot be called in another context: it has no name, and no module exports it. ${EXPORT}:
export function task(...) { ... }   // in a module
context.call(task, ...)`);
  });

  it('a bound function', () => {
    expect(messageFor(refused.boundOf(1))).toBe(`the function bound closureOf cannot be called in another context: it is bound, and no module exports it. ${EXPORT}:
export function closureOf(...) { ... }   // in a module; what it is bound to becomes an argument
context.call(closureOf, ...)`);
  });

  it('a Proxy', () => {
    expect(messageFor(new Proxy(added, {}))).toContain('the function added cannot be called in another context: it is a Proxy, and no module exports it. Export a function from a module');
  });

  it('a method of an object', () => {
    expect(messageFor(refused.methodOf())).toBe(`the function fetch cannot be called in another context: it is a method of the object api, and not an export itself. ${EXPORT}:
export function fetch(...) { ... }   // in a module; what it reads from \`this\` becomes an argument
context.call(fetch, ...)`);
    expect(messageFor(refused.instanceMethodOf())).toContain('the function work cannot be called in another context: it is a method of an object, and not an export itself');
  });

  it('a function made by eval', () => {
    // eslint-disable-next-line @typescript-eslint/no-implied-eval -- what is tried
    expect(messageFor(new Function('return 1'))).toBe(`the function anonymous cannot be called in another context: it was made by eval or from another text, and is in no file. ${EXPORT}:
export function anonymous(...) { ... }   // in a module
context.call(anonymous, ...)`);
  });

  it('a function of a data: URL', () =>
    withFiles({ 'main.mjs': `import { findFunction } from ${JSON.stringify(finder)};\nconst { remote } = await import('data:text/javascript,export const remote = () => 1');\ntry { findFunction(remote); } catch ({ message }) { console.log(message); }` }, async (directory) => {
      const { stdout } = await runNode(['main.mjs'], { cwd: directory });
      expect(stdout).toContain('the function remote cannot be called in another context: it comes from a data: URL, which is not a file. Export a function from a module');
    }));

  it('a native function', () => {
    expect(messageFor(Math.max)).toBe(`the function max cannot be called in another context: it is native, of JavaScript or Node itself, and no module exports it. ${EXPORT}:
export function max(...) { ... }   // in a module; it calls the native one
context.call(max, ...)`);
  });

  it('a class', () => {
    expect(messageFor(refused.Exported)).toBe(`the function Exported cannot be called in another context: it is a class. Call one of its static methods:
export class Exported { static run(...) { ... } }
context.call(Exported.run, ...)`);
  });

  it('a function whose module exports another one by its name', () =>
    withFiles({ 'tasks.cjs': 'const make = (n) => function task() { return n; };\nexports.task = make(1);\nmodule.exports.other = () => make(2);', 'main.cjs': `const { other } = require('./tasks.cjs');\nimport(${JSON.stringify(finder)}).then(({ findFunction }) => { try { findFunction(other()); } catch ({ message }) { console.log(message); } });` }, async (directory) => {
      const { stdout } = await runNode(['main.cjs'], { cwd: directory });
      expect(stdout).toContain(`the function task cannot be called in another context: ${join(directory, 'tasks.cjs')} exports another function by that name, of another instance of the module perhaps. If a module exports it, say which:`);
    }));

  it('something else than a function', () => {
    expect(messageFor(undefined)).toBe('call() takes a function that is exported from a module, got undefined; is the import right?');
  });

  it('any function, where the inspector is not permitted and the callers do not import it', () =>
    withFiles({ 'main.mjs': `import { findFunction } from ${JSON.stringify(finder)};\ntry { findFunction(() => 1); } catch ({ message }) { console.log(message); }` }, async (directory) => {
      // The permission model had another name before 24.
      const flag = Number(process.versions.node.split('.')[0]) >= 24 ? '--permission' : '--experimental-permission';
      const { stdout } = await runNode([flag, '--allow-fs-read=*', 'main.mjs'], { cwd: directory });
      expect(stdout).toContain('an anonymous function cannot be called in another context: the inspector, which could tell where it was written, is not permitted here. If a module exports it, say which:\nconst tasks = context.module(');
    }));
});
