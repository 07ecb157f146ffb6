import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import { UsageError } from 'tendril';
import { checkMainScript, isMainScript } from '../src/master/modules/main-script.ts';
import { runNode, withFiles } from './support/programs.ts';
import { watchForLeaks } from './support/tree.ts';

const { argv, execArgv } = process;

afterEach(() => {
  process.argv = argv;
  process.execArgv = execArgv;
});

/** As if this process had been started so. */
function startedWith(script: string | undefined, options: readonly string[] = []): void {
  process.argv = [argv[0] ?? '', ...(script === undefined ? [] : [script])];
  process.execArgv = [...options];
}

const href = (...parts: readonly string[]): string => pathToFileURL(join(...parts)).href;

describe('the main script of a process', () => {
  it('is the file that it was started with, as it really is', () =>
    withFiles({ 'main.mjs': '', 'other.mjs': '', 'tasks.js': '', 'program.ts': '', 'dir/index.js': '', 'pkg/package.json': '{ "main": "lib/start.js" }', 'pkg/lib/start.js': '' }, async (directory) => {
      const cases: readonly (readonly [started: string, is: string])[] = [
        ['main.mjs', 'main.mjs'],
        ['tasks', 'tasks.js'],
        ['program', 'program.ts'],
        ['dir', 'dir/index.js'],
        ['dir/index', 'dir/index.js'],
        ['pkg', 'pkg/lib/start.js'],
      ];
      for (const [started, is] of cases) {
        startedWith(join(directory, started));
        expect([started, isMainScript(href(directory, is))]).toEqual([started, true]);
        expect(isMainScript(href(directory, 'other.mjs'))).toBe(false);
      }
      symlinkSync(join(directory, 'main.mjs'), join(directory, 'bin'));
      startedWith(join(directory, 'bin'));
      expect(isMainScript(href(directory, 'main.mjs'))).toBe(true);
      mkdirSync(join(directory, 'with space'));
      symlinkSync(directory, join(directory, 'with space/link'));
      startedWith(join(directory, 'with space/link/other.mjs'));
      expect(isMainScript(href(directory, 'other.mjs'))).toBe(true);
      await Promise.resolve();
    }));

  it('is none where a text is evaluated, where there is no script, and in a test of jest', () =>
    withFiles({ 'main.mjs': '' }, async (directory) => {
      expect(isMainScript(import.meta.url)).toBe(false);
      const main = href(directory, 'main.mjs');
      startedWith(undefined);
      expect(isMainScript(main)).toBe(false);
      for (const options of [['-e', 'x'], ['--eval', 'x'], ['--eval=x'], ['-p', 'x'], ['-pe', 'x'], ['--print', 'x']]) {
        startedWith(join(directory, 'main.mjs'), options);
        expect(isMainScript(main)).toBe(false);
      }
      startedWith(join(directory, 'no-such-file.mjs'));
      expect(isMainScript(main)).toBe(false);
      startedWith(join(directory, 'main.mjs'), ['--enable-source-maps', '--env-file=.env']);
      expect(isMainScript(main)).toBe(true);
      await Promise.resolve();
    }));
});

describe('the guard of a main script', () => {
  /** What is said of a main script with this text; undefined when it may be sent. */
  const refusalOf = async (source: string, name = 'main.mjs'): Promise<string | undefined> => {
    let message: string | undefined;
    await withFiles({ [name]: source }, async (directory) => {
      startedWith(join(directory, name));
      try {
        checkMainScript(href(directory, name), source);
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
        expect(error).toMatchObject({ code: 'ERR_TENDRIL_MAIN_SCRIPT' });
        message = (error as Error).message.replaceAll(directory, '');
      }
      await Promise.resolve();
    });
    return message;
  };

  it.each([
    'if (require.main === module) main();',
    'if (module === require.main) { main(); }',
    'if (require.main !== module) return;\nmain();',
    "if (typeof require !== 'undefined' && require.main === module) main();",
    'if (!module.parent) main();',
    'if (module.parent === null) main();',
    'if (require.main.filename === __filename) main();',
    'if (process.mainModule === module) main();',
    'if (process.argv[1] === __filename) main();',
    'if (import.meta.main) await main();',
    'if (process.argv[1] === fileURLToPath(import.meta.url)) await main();',
    'if (fileURLToPath(import.meta.url) === process.argv[1]) await main();',
    'if (process.argv[1] == import.meta.filename) await main();',
    'if (import.meta.filename === realpathSync(process.argv[1])) await main();',
    'if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();',
    'if (import.meta.url === `file://${process.argv[1]}`) await main();',
    'if (import.meta.url.endsWith(process.argv[1])) await main();',
    'if (process.argv[1] && import.meta.url.includes(basename(process.argv[1]))) main();',
    'process.argv[1] === fileURLToPath(import.meta.url) && main();',
    'const isMain = process.argv[1] === fileURLToPath(import.meta.url);\nif (isMain) main();',
    "const file = fileURLToPath(import.meta.url);\nconst started = resolve(process.argv[1]);\nif (started === file || started === file.replace(/\\.mjs$/, '')) main();",
    'const [, script] = process.argv;\nif (script === import.meta.filename) main();',
    'const { argv } = process;\nif (import.meta.filename === argv[1]) main();',
    'const entry =\n  process.argv[1] && pathToFileURL(process.argv[1]).href;\nconst here: string = import.meta.url;\nif (entry === here) main();',
    'if (\n  process.argv[1] &&\n  resolve(process.argv[1]) ===\n    fileURLToPath(import.meta.url)\n) {\n  main();\n}',
    "import esMain from 'es-main';\nif (esMain(import.meta)) main();",
    "import { isMain } from './is-main.mjs';\nif (isMain(import.meta.url)) main();",
    'const half = total / 2; const quarter = half / 2;\nif (import.meta.main) main(); // it is /2',
    'const text = `${`nested ${{ a: 1 }.a}`}`;\nif (import.meta.main) main();',
  ])('is seen in: %s', async (source) => {
    expect(await refusalOf(source)).toBeUndefined();
  });

  it.each([
    'main();',
    '// if (import.meta.main) main();\nmain();',
    '/* if (require.main === module) */ main();',
    "console.log('if (require.main === module) main()');\nmain();",
    'console.log(`if (import.meta.main) main()`);\nmain();',
    'const guard = /import.meta.main/;\nmain();',
    'const tasks = new URL("./tasks.mjs", import.meta.url);\nconst name = process.argv[2];\nif (name === undefined) usage();\nmain();',
    'const root = dirname(require.main.filename);\nmain();',
    'const [, , host] = process.argv;\nconst here = import.meta.url;\nif (host === here) main();\nmain();',
    'if (process.argv.length === 2) usage();\nmain(import.meta.url, process.argv);',
  ])('is missed in: %s', async (source) => {
    expect(await refusalOf(source)).toMatch(/^file:\/\/\/main\.mjs is the main script of this process\./);
  });

  const ESM = `import { fileURLToPath } from 'node:url';
if (process.argv[1] === fileURLToPath(import.meta.url)) {   // or import.meta.main, from Node 24.2 on
  // what only the main process does
}`;
  const COMMONJS = `if (require.main === module) {
  // what only the main process does
}`;

  it.each([
    ['main.mjs', 'main();', ESM],
    ['main.js', "import os from 'node:os';\nmain();", ESM],
    ['main.ts', 'export const task = (): number => 1;\nmain();', ESM],
    ['main.js', "// import os from 'node:os';\nmain();", COMMONJS],
    ['main.js', "const os = require('node:os');\nawaitless();\nimport('./x.js');", COMMONJS],
    ['main.cjs', 'main();', COMMONJS],
    ['main.cts', "import os from 'node:os';\nmain();", COMMONJS],
  ])('is shown as %s needs it', async (name, source, guard) => {
    expect(await refusalOf(source, name)).toBe(`file:///${name} is the main script of this process. What it does at its top level would be done in the child too, so put that behind a guard:
${guard}
or move the functions that run in children to a module of their own`);
  });

  it('is asked of no other module', () => {
    expect(() => {
      checkMainScript(import.meta.url, 'main();');
    }).not.toThrow();
  });
});

// The package as a user gets it: these run against dist, which `npm test` has built.
describe('a program in one file (REFERENCE 172)', () => {
  watchForLeaks();

  const root = fileURLToPath(new URL('..', import.meta.url));
  const tsx = join(root, 'node_modules/tsx/dist/cli.mjs');

  /** Runs the program as the main script of a project that has the package installed; the lines that it printed. */
  const run = async (name: string, source: string, { type = 'commonjs', loader = [] as readonly string[] } = {}): Promise<string[]> => {
    let lines: string[] = [];
    await withFiles({ [name]: source, 'package.json': JSON.stringify({ type }), 'node_modules/.keep': '' }, async (directory) => {
      symlinkSync(root, join(directory, 'node_modules/tendril'));
      symlinkSync(join(root, 'node_modules/rxjs'), join(directory, 'node_modules/rxjs'));
      const { stdout } = await runNode([...loader, name], { cwd: directory });
      lines = stdout.trimEnd().split('\n');
    });
    return lines;
  };

  it('of ES modules: its guard may await, and its main part does not run in the child (REFERENCE 169)', async () => {
    const source = `
      import { fileURLToPath } from 'node:url';
      import { firstValueFrom } from 'rxjs';
      import { Master } from 'tendril';
      export const elsewhere = (mine) => process.pid !== mine && globalThis.mainRan !== true;
      export class Counter { static #count = 0; static next() { return ++Counter.#count; } }
      export default (text) => text.toUpperCase();
      if (process.argv[1] === fileURLToPath(import.meta.url)) {
        globalThis.mainRan = true;
        const master = new Master({ logger: false });
        const kid = master.local();
        console.log(await firstValueFrom(kid.call(elsewhere, process.pid)));
        console.log(await firstValueFrom(kid.call(Counter.next)), await firstValueFrom(kid.module(import.meta.url).Counter.next()));
        console.log(await firstValueFrom(kid.module(import.meta.url).default('text')));
        await master.shutdown();
      }`;
    expect(await run('main.mjs', source)).toEqual(['true', '1 2', 'TEXT']);
  });

  it('of CommonJS', async () => {
    const source = `
      const { firstValueFrom } = require('rxjs');
      const { Master } = require('tendril');
      exports.elsewhere = function elsewhere(mine) { return process.pid !== mine && require.main !== module; };
      async function main() {
        const master = new Master({ logger: false });
        console.log(await firstValueFrom(master.local().call(exports.elsewhere, process.pid)));
        await master.shutdown();
      }
      if (require.main === module) main();`;
    expect(await run('main.cjs', source)).toEqual(['true']);
  });

  it.each(['module', 'commonjs'])('of TypeScript that tsx runs, in a package of type %s', async (type) => {
    const source = `
      import { fileURLToPath } from 'node:url';
      import { firstValueFrom } from 'rxjs';
      import { Master } from 'tendril';
      interface Answer { readonly elsewhere: boolean }
      export const ask = (mine: number): Answer => ({ elsewhere: process.pid !== mine });
      async function main(): Promise<void> {
        const master = new Master({ logger: false });
        console.log((await firstValueFrom(master.local().call(ask, process.pid))).elsewhere);
        await master.shutdown();
      }
      if (process.argv[1] === fileURLToPath(import.meta.url)) void main();`;
    expect(await run('main.ts', source, { type, loader: [tsx] })).toEqual(['true']);
  });

  it.each([
    ['main.mjs', "import { lastValueFrom } from 'rxjs'; import { Master } from 'tendril'; export const task = () => 1;", 'if (process.argv[1] === fileURLToPath(import.meta.url)) {'],
    ['main.cjs', "const { lastValueFrom } = require('rxjs'); const { Master } = require('tendril'); const task = (exports.task = () => 1);", 'if (require.main === module) {'],
  ])('is refused without a guard, as %s (REFERENCE 168)', async (name, head, guard) => {
    const lines = await run(name, `${head}
      const master = new Master({ logger: false });
      lastValueFrom(master.local().call(task)).catch((error) => { console.log(error.code); console.log(error.message); }).finally(() => master.shutdown());`);
    expect(lines[0]).toBe('ERR_TENDRIL_MAIN_SCRIPT');
    expect(lines.join('\n')).toContain(guard);
  });
});
