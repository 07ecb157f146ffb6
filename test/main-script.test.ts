import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import { UsageError } from 'tendril';
import { checkMainScript, isMainScript } from '../src/master/modules/main-script.ts';
import { withFiles } from './support/programs.ts';

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
