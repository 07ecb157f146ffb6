import { chmodSync, mkdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { CallError, ConnectedContext } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { atTheMaster, inPlainNode, remote, withFiles } from './support/application.ts';
import type { Files, Outcome } from './support/application.ts';
import { isRoot } from './support/needs.ts';
import { tap } from './support/tap.ts';
import { failure, first, startedProcesses, watchForLeaks, withTree } from './support/tree.ts';

/** Runs a test with the files of an application and a child. */
function withApplication(files: Files, test: (application: { kid: ConnectedContext; directory: string; main: string }) => Promise<void>): Promise<void> {
  return withFiles(files, (directory) =>
    withTree({ graceMs: 1000 }, ({ master }) => {
      const main = Object.keys(files).find((name) => name.startsWith('main.')) ?? 'main.cjs';
      return test({ kid: master.local({ name: 'kid' }), directory, main: join(directory, main) });
    }),
  );
}

/** Outcome of a function in a child, as {@link inPlainNode} gives it. */
async function inChild(kid: ConnectedContext, path: string, name: string, ...args: readonly unknown[]): Promise<Outcome> {
  try {
    return { value: await first(remote(kid, path, name, ...args)) };
  } catch (error) {
    const { remoteName, code, message, remoteStack } = error as CallError;
    return { error: { name: remoteName, code: code === 'ERR_TENDRIL_CALL' ? null : code, message, stack: remoteStack } };
  }
}

/** Expects that an outcome is that of a plain Node, but for where the files lie. */
function expectSame(actual: Outcome, expected: Outcome): void {
  if (expected.error === undefined) {
    expect(actual.error).toBeUndefined();
    expect(JSON.parse(atTheMaster(JSON.stringify(actual.value)))).toEqual(expected.value);
    return;
  }
  const { name, code, message, stack } = expected.error;
  const textOf = (error: Outcome['error']): string => atTheMaster(error?.message ?? '').split(/\n| imported from/)[0] ?? '';
  const relevant = (error: Outcome['error']): unknown => ({
    ...(code === null ? { name: error?.name } : { code: error?.code }),
    // There are programs that look at this text. Where Node has a path in it, the specifier says as much.
    ...(code?.endsWith('MODULE_NOT_FOUND') === true && { text: textOf({ name, code, message, stack }).includes('/tendril-app-') ? textOf(error).startsWith('Cannot find') : textOf(error) }),
    // Where Node's own functions leave room for it.
    ...(placeOf(stack) !== undefined && { place: placeOf(error?.stack ?? '') }),
  });
  expect(actual.value).toBeUndefined();
  expect(relevant(actual.error)).toEqual(relevant({ name, code, message, stack }));
}

/** The first line of a stack that is in a file of the application. Columns move where a module is rendered. */
function placeOf(stack: string): string | undefined {
  return /tendril-app-\w+\/(\S+\.[cm]?[jt]s:\d+):\d+/.exec(stack)?.[1];
}

function said(error: Error & { remoteStack?: string }): string {
  return `${error.message}\n${error.stack ?? ''}\n${error.remoteStack ?? ''}`;
}

const lines = (...all: readonly string[]): string => `${all.join('\n')}\n`;

/** Applications whose `main` a child and a plain Node must make the same of. */
const AS_IN_NODE: readonly (readonly [what: string, files: Files, prepare?: (directory: string) => void])[] = [
  ['an error thrown by a CommonJS module', { 'main.cjs': `exports.run = () => require('./throws.cjs');`, 'throws.cjs': lines('// one', '// two', `  throw new RangeError('no');`) }],
  ['an error thrown by an ES module', { 'main.mjs': `export const run = () => import('./throws.mjs');`, 'throws.mjs': lines(`import './b.mjs';`, '', `    throw Object.assign(new TypeError('no'), { code: 'E_NO' });`), 'b.mjs': '' }],
  ['an error thrown behind a top-level await', { 'main.mjs': `export const run = () => import('./throws.mjs');`, 'throws.mjs': lines('await null;', '', `throw new RangeError('no');`) }],
  ['an error thrown by a function of a module', { 'main.mjs': lines(`import { deep } from './deep.cjs';`, 'export const run = () => deep();'), 'deep.cjs': lines('', 'exports.deep = function deep() {', `  return null.property;`, '};') }],
  ['a text that is thrown', { 'main.cjs': lines(`exports.run = () => { try { require('./throws.cjs'); } catch (thrown) { return thrown; } };`), 'throws.cjs': `throw 'a text';` }],
  ['require of a CommonJS module that throws, twice', { 'main.cjs': lines('globalThis.runs = 0;', `const go = () => { try { require('./throws.cjs'); } catch (error) { return error.message; } };`, 'exports.run = () => [go(), go(), globalThis.runs];'), 'throws.cjs': `throw new Error('no ' + ++globalThis.runs);` }],
  ['import of an ES module that throws, twice', { 'main.mjs': lines('globalThis.runs = 0;', `const go = () => import('./throws.mjs').catch((error) => error);`, 'export const run = async () => { const [a, b] = [await go(), await go()]; return [a.message, a === b, globalThis.runs]; };'), 'throws.mjs': `throw new Error('no ' + ++globalThis.runs);` }],
  ['import of a CommonJS module that throws, twice', { 'main.mjs': lines('globalThis.runs = 0;', `const go = () => import('./throws.cjs').catch((error) => error);`, 'export const run = async () => { const [a, b] = [await go(), await go()]; return [a.message, a === b, globalThis.runs]; };'), 'throws.cjs': `throw new Error('no ' + ++globalThis.runs);` }],
  ['require of an ES module that throws, twice', { 'main.cjs': lines('globalThis.runs = 0;', `const go = () => { try { require('./throws.mjs'); } catch (error) { return error.message; } };`, 'exports.run = () => [go(), globalThis.runs];'), 'throws.mjs': `throw new Error('no ' + ++globalThis.runs);` }],

  ['require of a missing file', { 'main.cjs': `exports.run = () => require('./absent.cjs');` }],
  ['require of a missing file by a computed name', { 'main.cjs': `exports.run = () => require('./' + ['absent', 'cjs'].join('.'));` }],
  ['import of a missing file', { 'main.mjs': `export const run = () => import('./absent.mjs');` }],
  ['import of a missing file by a computed name', { 'main.mjs': `export const run = () => import('./' + ['absent', 'mjs'].join('.'));` }],
  ['require of a missing package', { 'main.cjs': `exports.run = () => require('absent-package');` }],
  ['import of a missing package', { 'main.mjs': `export const run = () => import('absent-package');` }],
  ['import of a missing package by a computed name', { 'main.mjs': `export const run = () => import(['absent', 'package'].join('-'));` }],
  ['import of a missing file of a package', { 'main.mjs': `export const run = () => import('pack/absent.js');`, 'node_modules/pack/package.json': '{}' }],
  ['require of a path that a package does not export', { 'main.cjs': `exports.run = () => require('pack/inner.js');`, 'node_modules/pack/package.json': '{"exports":"./index.js"}', 'node_modules/pack/inner.js': '' }],
  ['import of a path that a package does not export', { 'main.mjs': `export const run = () => import('pack/inner.js');`, 'node_modules/pack/package.json': '{"exports":"./index.js"}', 'node_modules/pack/inner.js': '' }],
  ['import of a path that a package does not export, by a computed name', { 'main.mjs': `export const run = () => import(['pack', 'inner.js'].join('/'));`, 'node_modules/pack/package.json': '{"exports":"./index.js"}', 'node_modules/pack/inner.js': '' }],
  ['exports whose target is null', { 'main.mjs': `export const run = () => import('pack/inner.js');`, 'node_modules/pack/package.json': '{"exports":{"./*":"./*","./inner.js":null}}', 'node_modules/pack/inner.js': '' }],
  ['exports whose only target is null, by require', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack/package.json': '{"exports":{".":null}}' }],
  ['exports with a target that is no path', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack/package.json': '{"exports":"index.js"}', 'node_modules/pack/index.js': '' }],
  ['a scoped package that says nothing of itself, by require and import', { 'main.cjs': `exports.run = async () => [require('@scope/pack'), (await import('@scope/pack')).default, (await import(['@scope', 'pack'].join('/'))).default];`, 'node_modules/@scope/pack/package.json': '{"name":"@scope/pack"}', 'node_modules/@scope/pack/index.js': 'module.exports = 7;' }],
  ['a scoped package whose main has no extension, by import', { 'main.mjs': `import seven from '@scope/pack'; export const run = () => seven;`, 'node_modules/@scope/pack/package.json': '{"name":"@scope/pack","main":"lib/main"}', 'node_modules/@scope/pack/lib/main.js': 'module.exports = 7;' }],
  ['a file of a package, with and without its extension, by import', { 'main.mjs': `export const run = () => Promise.all(['pack/lib/a.js', 'pack/lib/a', '@scope/pack/a.js', '@scope/pack/a'].map((each) => import(each).then(({ default: value }) => value, (error) => error.code)));`, 'node_modules/pack/lib/a.js': 'module.exports = 7;', 'node_modules/@scope/pack/a.js': 'module.exports = 8;' }],
  ['exports that lead out of the package', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack/package.json': '{"exports":"./../other.js"}', 'node_modules/other.js': 'exports.other = 1;' }],
  ['exports for no condition of ours', { 'main.mjs': `export const run = () => import('pack');`, 'node_modules/pack/package.json': '{"exports":{"browser":"./index.js"}}', 'node_modules/pack/index.js': '' }],
  ['exports whose first choice of several is not there', { 'main.mjs': `export const run = async () => (await import('pack')).default;`, 'node_modules/pack/package.json': '{"exports":["no path","./index.cjs"]}', 'node_modules/pack/index.cjs': 'module.exports = 7;' }],
  ['imports that are not defined', { 'main.mjs': `export const run = () => import('#absent');`, 'package.json': '{"imports":{"#there":"./a.cjs"}}' }],
  ['imports whose target is missing', { 'main.cjs': `exports.run = () => require('#there');`, 'package.json': '{"imports":{"#there":"./a.cjs"}}' }],
  ['a main that is missing, beside an index', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack/package.json': '{"main":"./absent.js"}', 'node_modules/pack/index.js': 'module.exports = 7;' }],
  ['a main that is missing, without an index', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack/package.json': '{"main":"./absent.js"}' }],

  ['a package.json with a BOM', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack/package.json': '\ufeff{"main":"./other.js"}', 'node_modules/pack/other.js': 'module.exports = 7;' }],
  ['a package that is a file', { 'main.cjs': `exports.run = () => require('pack');`, 'node_modules/pack': 'module.exports = 7;' }],
  ['JSON that is not valid, by require', { 'main.cjs': `exports.run = () => require('./data.json');`, 'data.json': '{"a":' }],
  ['JSON that is not valid, by import', { 'main.mjs': `export const run = () => import('./data.json', { with: { type: 'json' } });`, 'data.json': '{"a":' }],
  ['JSON with a BOM, a key __proto__ and odd values, by require', { 'main.cjs': `exports.run = () => { const data = require('./data.json'); return [Object.keys(data), data.a, data.text.length]; };`, 'data.json': '\ufeff{"__proto__":{"x":1},"a":1e400,"text":"\\u2028\\ud800 ü"}' }],
  ['JSON with the separators of lines, by import', { 'main.mjs': `import data from './data.json' with { type: 'json' }; export const run = () => [data.a, Object.keys(data), Object.getPrototypeOf(data) === Object.prototype];`, 'data.json': '{"a":"\u2028\u2029","__proto__":{"x":1}}' }],
  ['JSON that is empty', { 'main.cjs': `exports.run = () => require('./data.json');`, 'data.json': '' }],

  ['a directory in place of a CommonJS module', { 'main.cjs': `exports.run = () => require('./a.cjs');`, 'a.cjs/keep': '' }],
  ['a directory in place of an ES module', { 'main.mjs': `export const run = () => import('./a.mjs');`, 'a.mjs/keep': '' }],
  ['a directory with an index', { 'main.cjs': `exports.run = () => require('./a.cjs');`, 'a.cjs/index.js': 'module.exports = 7;' }],
  ['a link to itself in place of a CommonJS module', { 'main.cjs': `exports.run = () => require('./a.cjs');` }, (directory) => { symlinkSync('a.cjs', join(directory, 'a.cjs')); }],
  ['a link to itself in place of an ES module', { 'main.mjs': `export const run = () => import('./a.mjs').catch((error) => { throw Object.assign(new Error('no'), { code: error.code === 'ELOOP' ? 'ERR_MODULE_NOT_FOUND' : error.code }); });` }, (directory) => { symlinkSync('a.mjs', join(directory, 'a.mjs')); }],
  ['a link that leads nowhere', { 'main.cjs': `exports.run = () => require('./a.cjs');` }, (directory) => { symlinkSync('absent.cjs', join(directory, 'a.cjs')); }],
  ['a directory that contains itself', { 'main.cjs': `exports.run = () => [require('./d/d/d/d/a.cjs') === require('./d/a.cjs'), require('./d/d/a.cjs').file];`, 'd/a.cjs': 'exports.file = __filename;' }, (directory) => { symlinkSync('.', join(directory, 'd/d')); }],
  ['a linked package', { 'main.cjs': `exports.run = () => [require('pack').file, require('pack').dependency];`, 'packages/pack/index.js': `exports.file = __filename; exports.dependency = require('dependency');`, 'packages/node_modules/dependency/index.js': 'module.exports = 7;', 'node_modules/keep': '' }, (directory) => { symlinkSync('../packages/pack', join(directory, 'node_modules/pack')); }],
  ['a linked module by import', { 'main.mjs': `import * as a from './a.mjs'; import * as b from './b.mjs'; export const run = () => [a === b, a.url];`, 'a.mjs': 'export const url = import.meta.url;' }, (directory) => { symlinkSync('a.mjs', join(directory, 'b.mjs')); }],

  ['a circle that leads to the entry', { 'main.cjs': `exports.early = 1; const { seen } = require('./a.cjs'); exports.run = () => [seen, require('./a.cjs').again()];`, 'a.cjs': `const main = require('./main.cjs'); exports.seen = Object.keys(main); exports.again = () => Object.keys(require('./main.cjs'));` }],
  ['a circle of ES modules that leads to the entry', { 'main.mjs': `import { seen, now } from './a.mjs'; export let value = 1; export const run = () => [seen, now(), ++value, now()];`, 'a.mjs': `import { value } from './main.mjs'; export const now = () => value; export const seen = (() => { try { return value; } catch (error) { return error.name; } })();` }],
  ['a module that requires itself', { 'main.cjs': `exports.early = 1; const self = require('./main.cjs'); exports.run = () => self === module.exports;` }],
  ['a module that imports itself', { 'main.mjs': `import * as self from './main.mjs'; export const run = () => Object.keys(self);` }],

  ['a BOM', { 'main.cjs': `\ufeffconst { a } = require('./a.cjs'); exports.run = async () => [a, (await import('./b.mjs')).b];`, 'a.cjs': `\ufeff\nexports.a = new Error('a').stack.split('\\n')[1].replace(/.*a\\.cjs:(\\d+):.*/, '$1');`, 'b.mjs': `\ufeffexport const b = new Error('b').stack.split('\\n')[1].replace(/.*b\\.mjs:(\\d+):.*/, '$1');` }],
  ['a hashbang', { 'main.cjs': `#!/usr/bin/env node\nexports.run = async () => [new Error().stack.split('\\n')[1].replace(/.*main\\.cjs:(\\d+):.*/, '$1'), (await import('./b.mjs')).b];`, 'b.mjs': `#!/usr/bin/env node\nexport const b = new Error('b').stack.split('\\n')[1].replace(/.*b\\.mjs:(\\d+):.*/, '$1');` }],
  ['CRLF', { 'main.cjs': `exports.run = async () => {\r\n  const { b } = await import('./b.mjs');\r\n  return [b, \`x\r\ny\`.length, new Error().stack.split('\\n')[1].replace(/.*main\\.cjs:(\\d+):.*/, '$1')];\r\n};\r\n`, 'b.mjs': `\r\n\r\nexport const b = new Error().stack.split('\\n')[1].replace(/.*b\\.mjs:(\\d+):.*/, '$1');\r\n` }],
  ['old and odd ends of lines', { 'main.cjs': `exports.a = 1;\r// one line for a Mac\rexports.run = () => '\u2028\u2029'.length; // \u2028 exports.other = 0` }],
  ['an empty module', { 'main.mjs': `import * as a from './a.mjs'; import b from './b.cjs'; export const run = () => [Object.keys(a), b];`, 'a.mjs': '', 'b.cjs': '' }],
  ['only a comment that does not end its line', { 'main.cjs': `require('./a.cjs'); exports.run = () => 7;`, 'a.cjs': '// the end' }],
  ['bytes that are not UTF-8', { 'main.cjs': `exports.run = () => [...require('./a.cjs')].map((c) => c.charCodeAt(0));`, 'a.cjs': Buffer.concat([Buffer.from(`module.exports = '`), Buffer.of(0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80), Buffer.from(`';`)]) }],
  ['a NUL byte in a text', { 'main.cjs': `exports.run = () => require('./a.cjs');`, 'a.cjs': `module.exports = '\0'.length;` }],
  ['strict code that is not strict', { 'main.cjs': `exports.run = () => { undeclared = 7; return [undeclared, (function () { return this === globalThis; })()]; };` }],
  ['code that looks like the wrapper of a module', { 'main.cjs': `exports.run = () => require('./a.cjs').a;`, 'a.cjs': `exports.a = 1; }); (function () { exports.a = 2;` }],
  ['a return at the top', { 'main.cjs': `exports.run = () => 7; return; exports.run = () => 8;` }],
  ['names of the wrapper that are declared again', { 'main.cjs': `exports.run = () => require('./a.cjs');`, 'a.cjs': `const require = 1;` }],
  ['names of the wrapper that are declared again by var', { 'main.cjs': `exports.run = () => 7; var require = 1, module = 2;` }],
  ['names of the wrapper in an ES module', { 'main.mjs': `export const run = () => [typeof require, typeof module, typeof exports, typeof __filename, typeof this];` }],
  ['names in an ES module that a rendering would use', { 'main.mjs': lines('const exports = 1, module = 2, require = 3, __dirname = 4, __filename = 5, self = 6, Module = 7;', 'export const run = () => [exports, module, require, __dirname, __filename, self, Module];') }],
  ['specifiers in comments, texts and templates', { 'main.mjs': lines(`// import './absent1.mjs'`, `/* require('./absent2.cjs') */`, "export const run = () => [`import('./absent3.mjs')`, \"import x from './absent4.mjs'\", /require\\('.\\/absent5'\\)/.source];") }],

  ['a builtin that this Node lacks, by import', { 'main.mjs': `export const run = () => import('node:nonexistent');` }],
  ['a builtin that this Node lacks, by a static import', { 'main.mjs': `export const run = () => import('./a.mjs');`, 'a.mjs': `import 'node:nonexistent';` }],
  ['a builtin that this Node lacks, by require', { 'main.cjs': `exports.run = () => require('node:nonexistent');` }],
  ['a builtin that this Node lacks, by a computed name', { 'main.cjs': `exports.run = () => require(['node', 'nonexistent'].join(':'));` }],
  ['a builtin of newer Nodes', { 'main.cjs': `exports.run = () => { try { return typeof require('node:sqlite').DatabaseSync; } catch (error) { return error.code; } };` }],
  ['a builtin that only exists with its prefix', { 'main.cjs': `exports.run = () => require('test');` }],
  ['a package with the name of a builtin', { 'main.cjs': `exports.run = () => [typeof require('fs').readFileSync, require('fs/').mine];`, 'node_modules/fs/index.js': 'exports.mine = 1;' }],

  ['specifiers that are nothing', { 'main.cjs': `exports.run = async () => { const codes = {}; for (const odd of ['', '.', './', '/', '..', '\\0', './\\0', 'a\\0b', '#', '%', 'file:', 'http://a.example/b.js', 'nonsense:x', '@', '@a', '@a/', 'a//b', './a/../../../../../../../../../../nowhere.js', ' ', 'x'.repeat(5000)]) { try { require(odd); codes[odd.slice(0, 40)] = 'none'; } catch (error) { codes[odd.slice(0, 40)] = error.code; } } return codes; };` }],
  ['specifiers that are nothing, by import', { 'main.mjs': `export const run = async () => { const codes = {}; for (const odd of ['', './\\0', 'a\\0b', '#', '#/', '%', 'file:', 'file://host/x.mjs', 'file:///%2f', './%2e%2e%2f', './a%5cb', './%zz', 'http://a.example/b.js', 'nonsense:x', '@', '@a', '@a/', '.a', 'a//b', ' ']) { try { await import(odd); codes[odd.slice(0, 40)] = 'none'; } catch (error) { codes[odd.slice(0, 40)] = error.code; } } return codes; };` }],
  ['specifiers that are no texts', { 'main.cjs': `exports.run = () => [undefined, null, 7, {}, [], Symbol('x'), () => {}, Buffer.from('./main.cjs')].map((odd) => { try { require(odd); return 'none'; } catch (error) { return error.code; } });` }],
  ['a specifier that is an object with a text', { 'main.mjs': `export const run = async () => (await import({ toString: () => './a.mjs' })).a;`, 'a.mjs': 'export const a = 7;' }],
  ['a query, a fragment and an encoded name', { 'main.mjs': `export const run = async () => { const all = await Promise.all(['./a.mjs', './a.mjs?1', './a.mjs#2', './%61.mjs', './a.mjs?1'].map((each) => import(each))); return [new Set(all).size, all.map(({ url }) => url)]; };`, 'a.mjs': 'export const url = import.meta.url;' }],
  ['data: URLs', { 'main.mjs': `export const run = async () => [(await import('data:text/javascript,export default 7')).default, (await import('data:application/json,{}', { with: { type: 'json' } })).default, await import('data:text/javascript,import "./a.mjs"').catch((error) => error.name)];` }],
  ['require.resolve, and what it does not find', { 'main.cjs': `exports.run = () => [require.resolve('./a.cjs'), require.resolve('fs'), require.resolve('pack'), (() => { try { return require.resolve('./absent'); } catch (error) { return error.code; } })()];`, 'a.cjs': `throw new Error('it is not to be run');`, 'node_modules/pack/lib.js': '', 'node_modules/pack/package.json': '{"main":"lib"}' }],
  ['import.meta.resolve, and what it does not find', { 'main.mjs': `export const run = () => ['./a.mjs', './absent.mjs', 'node:fs', 'pack', 'absent'].map((each) => { try { return import.meta.resolve(each); } catch (error) { return error.code; } });`, 'a.mjs': '', 'node_modules/pack/lib.js': '', 'node_modules/pack/package.json': '{"main":"lib.js"}' }],
];

describe('what a child makes of modules that are wrong is what Node makes of them', () => {
  watchForLeaks();

  it.each(AS_IN_NODE.map(([what, files, prepare]) => [what, { files, prepare }] as const))('%s', (_what, { files, prepare }) =>
    withApplication(files, async ({ kid, main, directory }) => {
      prepare?.(directory);
      const expected = await inPlainNode(main, 'run');
      expectSame(await inChild(kid, main, 'run'), expected);
      // A module that is wrong is no harm to its context.
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it.each([
    ['spaces', 'with some  spaces'],
    ['letters of other scripts', 'Ünï cödé 日本語 😀'],
    ['a percent sign', '100%'],
    ['what looks like an encoded slash', 'a%2fb%2e%2e'],
    ['a hash', 'c#1'],
    ['a question mark', 'why?x=1'],
    ['quotes', `it's "so" \`odd\``],
    ['a line end', 'two\nlines'],
    ['a dollar', '$& $1 ${x}'],
    ['control characters', 'bell\x07 escape\x1b[31m'],
    ['a colon', 'c:d'],
    ['letters that are composed', 'e\u0301 \u00e9'],
    ['a hundred levels', Array.from({ length: 100 }, () => 'd').join('/')],
    ['a long name', 'x'.repeat(250)],
  ])('a path with %s', (_what, name) =>
    withFiles(
      {
        [`${name}/main.mjs`]: lines(
          `import { a } from './a.cjs'; import b from ${JSON.stringify(`./${encodeURIComponent('b ü#?%.json')}`)} with { type: 'json' };`,
          `export const run = async () => [a, b, import.meta.url, (await import('./a.cjs')).default.dirname, (await import('./' + 'a.cjs')).a === a, new Error().stack.split('\\n')[1].replace(/:\\d+\\)?$/, '')];`,
        ),
        [`${name}/a.cjs`]: 'exports.a = __filename; exports.dirname = __dirname;',
        [`${name}/b ü#?%.json`]: '7',
      },
      (directory) =>
        withTree({}, async ({ master }) => {
          const main = join(directory, name, 'main.mjs');
          const expected = await inPlainNode(main, 'run');
          expectSame(await inChild(master.local(), main, 'run'), expected);
        }),
    ),
  );
});

describe('a package.json that is not what it should be', () => {
  watchForLeaks();

  it.each([
    ['no JSON', 'require', '{ "main": '],
    ['no JSON', 'import', '{ "main": '],
    ['bytes', 'require', Buffer.of(0xff, 0xfe, 0x7b, 0)],
    ['bytes', 'import', Buffer.of(0xff, 0xfe, 0x7b, 0)],
  ] as const)('(%s) fails those who want the package by %s, and names it', (_what, how, content) =>
    withApplication({ 'main.cjs': `exports.run = () => ${how}('pack'); exports.caught = async () => { try { await ${how}('pack'); } catch (error) { return 'caught'; } }; exports.computed = () => ${how}(['pa', 'ck'].join(''));`, 'node_modules/pack/package.json': content, 'node_modules/pack/index.js': '' }, async ({ kid, main }) => {
      for (const name of ['run', 'computed']) expect(said(await failure(remote(kid, main, name)))).toMatch(/package\.json\b.*\bpack\b|\bpack\/package\.json/);
      expect(await first(remote(kid, main, 'caught'))).toBe('caught');
    }),
  );

  it.each(['null', '7', '[]', '"text"', '', '{"main":7,"type":[],"name":{},"imports":3,"exports":[]}'])('(%j) is no harm to others', (content) =>
    withApplication({ 'main.cjs': `exports.run = () => { try { require('pack'); } catch (error) { return 'caught'; } return 'loaded'; };`, 'node_modules/pack/package.json': content, 'node_modules/pack/index.js': '' }, async ({ kid, main }) => {
      expect(await first(remote(kid, main, 'run'))).toMatch(/caught|loaded/);
    }),
  );
});

describe('syntax errors', () => {
  watchForLeaks();

  it.each<[what: string, files: Files, file: string, line: number]>([
    ['a CommonJS module', { 'main.cjs': `exports.run = () => require('./bad.cjs');`, 'bad.cjs': lines('const a = 1;', '', 'const b = ;') }, 'bad.cjs', 3],
    ['an ES module', { 'main.mjs': `export const run = () => import('./bad.mjs');`, 'bad.mjs': lines(`import 'node:fs';`, 'export const a = 1;', '', 'export const = 2;') }, 'bad.mjs', 4],
    ['an ES module that another imports', { 'main.mjs': `export const run = () => import('./a.mjs');`, 'a.mjs': `import './bad.mjs';`, 'bad.mjs': lines('', 'a b') }, 'bad.mjs', 2],
    ['a CommonJS module that an ES module imports', { 'main.mjs': `export const run = () => import('./bad.cjs');`, 'bad.cjs': lines('', 'a b') }, 'bad.cjs', 2],
    ['an ES module that is required', { 'main.cjs': `exports.run = () => require('./bad.mjs');`, 'bad.mjs': lines('export default 1;', 'a b') }, 'bad.mjs', 2],
    ['a TypeScript module', { 'main.mts': `export const run = (): Promise<unknown> => import('./bad.mts');`, 'bad.mts': lines('interface A { a: string }', 'export const a: A = { a: };') }, 'bad.mts', 2],
    ['the module of the call itself', { 'main.mjs': lines('export const run = () => 1;', '', 'a b') }, 'main.mjs', 3],
    ['await outside of a function in CommonJS', { 'main.cjs': `exports.run = () => require('./bad.cjs');`, 'bad.cjs': lines('', 'exports.a = await null;') }, 'bad.cjs', 2],
  ])('in %s name file and line', (_what, files, file, line) =>
    withApplication(files, async ({ kid, main }) => {
      const error = await failure(remote(kid, main, 'run'));
      expect(said(error)).toMatch(/SyntaxError|syntax/i);
      expect(said(error)).toMatch(new RegExp(`${file.replace('.', '\\.')}[^\\n]{0,80}?\\b${String(line)}\\b`));
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      // The same again: what failed once is not half loaded.
      expect((await failure(remote(kid, main, 'run'))).code).toBe(error.code);
    }),
  );

  it('in one module leave the others of the same application alone', () =>
    withApplication(
      { 'main.cjs': `exports.run = () => { try { require('./bad.cjs'); } catch (error) { return error.name; } }; exports.other = () => require('./good.cjs');`, 'bad.cjs': 'a b', 'good.cjs': 'module.exports = 7;' },
      async ({ kid, main }) => {
        expect(await first(remote(kid, main, 'run'))).toBe('SyntaxError');
        expect(await first(remote(kid, main, 'other'))).toBe(7);
      },
    ));
});

describe('modules that change or cannot be read', () => {
  watchForLeaks();

  it('the module of a call that is not there fails the call with its path, and a later call finds it', () =>
    withApplication({ 'package.json': '{}' }, async ({ kid, main }) => {
      const error = await failure(remote(kid, main, 'run'));
      expect(error.code).toMatch(/MODULE_NOT_FOUND$/);
      expect(said(error)).toContain('main.cjs');
      writeFileSync(main, 'exports.run = () => 7;');
      expect(await first(remote(kid, main, 'run'))).toBe(7);
    }));

  it('a module that is deleted after it was sent is not missed by the child that has it, and told missing to others', () =>
    withFiles({ 'main.cjs': `exports.run = () => require('./a.cjs'); exports.computed = (name) => require(name);`, 'a.cjs': 'module.exports = 7;', 'b.cjs': 'module.exports = 8;' }, (directory) =>
      withTree({}, async ({ master }) => {
        const main = join(directory, 'main.cjs');
        const [kid, late] = [master.local({ name: 'kid' }), master.local({ name: 'late' })];
        expect(await first(remote(kid, main, 'run'))).toBe(7);
        for (const name of ['a.cjs', 'b.cjs']) unlinkSync(join(directory, name));
        expect(await first(remote(kid, main, 'run'))).toBe(7);
        expect((await failure(remote(kid, main, 'computed', './b.cjs'))).code).toBe('MODULE_NOT_FOUND');
        // What the master has read may serve another child still, or not; but it says so.
        const other = await inChild(late, main, 'run');
        expect(other.value === 7 || other.error?.code === 'MODULE_NOT_FOUND').toBe(true);
      }),
    ));

  it('a module that the master knew of and that is gone when it is wanted is missing', () =>
    withApplication({ 'main.cjs': `exports.ping = () => 'pong'; exports.run = (name) => require(name);`, 'a.cjs': 'module.exports = 7;', 'b.cjs': 'module.exports = 8;' }, async ({ kid, main, directory }) => {
      expect(await first(remote(kid, main, 'ping'))).toBe('pong');
      rmSync(join(directory, 'a.cjs'));
      const error = await failure(remote(kid, main, 'run', './a.cjs'));
      expect([error.code, error.message.split('\n')[0]]).toEqual(['MODULE_NOT_FOUND', `Cannot find module './a.cjs'`]);
      // A directory in place of a file that was there.
      rmSync(join(directory, 'b.cjs'));
      mkdirSync(join(directory, 'b.cjs'));
      expect((await failure(remote(kid, main, 'run', './b.cjs'))).code).toBe('MODULE_NOT_FOUND');
    }));

  it('a module that may not be read fails the one who wants it', () =>
    withApplication({ 'main.cjs': `exports.run = (name) => require(name); exports.literal = () => require('./a.cjs'); exports.caught = () => { try { require('./a.cjs'); } catch { return 'caught'; } };`, 'a.cjs': 'module.exports = 7;' }, async ({ kid, main, directory }) => {
      chmodSync(join(directory, 'a.cjs'), 0o000);
      chmodSync(directory, 0o755);
      await first(kid.connected);
      // Root may read everything; so this is done as somebody else.
      if (isRoot()) process.seteuid?.(65_534);
      try {
        for (const name of ['run', 'literal']) {
          const error = await failure(remote(kid, main, name, './a.cjs'));
          expect(error.code).toMatch(/^(?:EACCES|MODULE_NOT_FOUND)$/);
          expect(said(error)).toContain('a.cjs');
        }
        expect(await first(remote(kid, main, 'caught'))).toBe('caught');
      } finally {
        if (isRoot()) process.seteuid?.(0);
      }
    }));

  it.each<[what: string, make: (path: string) => void]>([
    ['a pipe that nobody writes to', (path) => execFileSync('mkfifo', [path])],
    ['a device that never ends', (path) => { symlinkSync('/dev/zero', path); }],
    ['a file of the kernel', (path) => { symlinkSync('/proc/self/mem', path); }],
    ['a terminal', (path) => { symlinkSync('/dev/tty', path); }],
  ])('%s in place of a module does not stop the master', (_what, make) =>
    withApplication({ 'main.cjs': `exports.literal = () => { try { return typeof require('./odd.cjs'); } catch (error) { return 'caught'; } }; exports.computed = (name) => { try { return typeof require(name); } catch (error) { return 'caught'; } };` }, async ({ kid, main, directory }) => {
      make(join(directory, 'odd.cjs'));
      make(join(directory, 'odd2.cjs'));
      expect(await first(remote(kid, main, 'literal'))).toBe('caught');
      expect(await first(remote(kid, main, 'computed', './odd2.cjs'))).toBe('caught');
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );
});

describe('native addons', () => {
  watchForLeaks();

  const ADDON: Files = { 'node_modules/native-thing/package.json': '{"name":"native-thing","version":"1.2.3","main":"index.js"}', 'node_modules/native-thing/index.js': `module.exports = require('./build/Release/thing.node');`, 'node_modules/native-thing/build/Release/thing.node': Buffer.of(0x7f, 0x45, 0x4c, 0x46) };

  it.each<[how: string, files: Files]>([
    ['a literal require', { 'main.cjs': `exports.run = () => require('native-thing');` }],
    ['a static import', { 'main.mjs': `import thing from 'native-thing'; export const run = () => thing;` }],
    ['an import', { 'main.mjs': `export const run = () => import('native-thing');` }],
    ['a computed name', { 'main.cjs': `exports.run = () => require(['native', 'thing'].join('-'));` }],
    ['a computed path', { 'main.cjs': `require('native-thing/package.json'); exports.run = () => require(require('path').join(__dirname, 'node_modules/native-thing/build/Release', ['thing', 'node'].join('.')));` }],
    ['process.dlopen', { 'main.cjs': `exports.run = () => { require('native-thing/package.json'); process.dlopen({ exports: {} }, require('path').join(__dirname, 'node_modules/native-thing/build/Release/thing.node')); };` }],
  ])('wanted by %s give a typed error with the package, the addon and the ways out', (_how, files) =>
    withApplication({ ...files, ...ADDON }, async ({ kid, main }) => {
      const error = await failure(remote(kid, main, 'run'));
      expect(error.code).toBe('ERR_TENDRIL_NATIVE_ADDON');
      for (const part of ['native-thing', 'thing.node', 'local', 'try']) expect(error.message).toContain(part);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it('that are optional give way to what takes their place', () =>
    withApplication(
      {
        ...ADDON,
        'main.cjs': lines(
          `let fast; try { fast = require('native-thing'); } catch { fast = null; }`,
          `let probed; try { probed = require('probing'); } catch (error) { probed = error.code; }`,
          'exports.run = () => [fast, probed];',
        ),
        // As the packages do that look for what was built.
        'node_modules/probing/index.js': lines(
          `const fs = require('fs'), path = require('path');`,
          `const built = ['build/Release', 'prebuilds'].map((each) => path.join(__dirname, each)).filter((each) => fs.existsSync(each));`,
          `for (const each of built) for (const file of fs.readdirSync(each)) if (file.endsWith('.node')) { try { module.exports = require(path.join(each, file)); return; } catch {} }`,
          `module.exports = 'the slow one';`,
        ),
        'node_modules/probing/package.json': '{"name":"probing"}',
        'node_modules/probing/prebuilds/fast.node': Buffer.of(0x7f, 0x45, 0x4c, 0x46),
      },
      async ({ kid, main }) => {
        expect(await first(remote(kid, main, 'run'))).toEqual([null, 'the slow one']);
      },
    ));
});

describe('modules in masses', () => {
  watchForLeaks();

  const BIG = `module.exports = ${'/* as long as this comment is */'.repeat(32 * 1024 * 50)} 7;`;

  it('of 50 MB are refused at the caller by a typed error, and harm nobody else', () =>
    withFiles({ 'main.cjs': `exports.ping = () => 'pong'; exports.literal = () => require('./big.cjs'); exports.computed = (name) => require(name);`, 'big.cjs': BIG, 'itself.cjs': `exports.run = () => 7; ${BIG.replace('module.exports =', '')}` }, (directory) =>
      withTree({}, async ({ master }) => {
        const [kid, sibling] = [master.local(), master.local()];
        const main = join(directory, 'main.cjs');
        expect(await first(remote(kid, main, 'ping'))).toBe('pong');
        for (const [path, name] of [[main, 'literal'], [main, 'computed'], [join(directory, 'itself.cjs'), 'run']] as const) {
          const error = await failure(remote(kid, path, name, './big.cjs'));
          expect([path, name, error.code]).toEqual([path, name, 'ERR_TENDRIL_MODULE_TOO_LARGE']);
          expect(error.message).toMatch(/big\.cjs|itself\.cjs/);
          expect(error.message).toMatch(/5\d|\d{8}/);
        }
        expect(await first(remote(kid, main, 'ping'))).toBe('pong');
        expect(await first(remote(sibling, main, 'ping'))).toBe('pong');
      }),
    ));

  it('over maxMessageSize together still arrive when each is below it', () => {
    const files = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`m${String(index)}.cjs`, `module.exports = ${String(index)}; // ${randomText(8000, index)}`]));
    return withFiles({ ...files, 'main.cjs': `exports.run = () => [${Object.keys(files).map((name) => `require('./${name}')`).join(', ')}].length;` }, (directory) =>
      withTree({ maxMessageSize: 65_536 }, async ({ master }) => {
        expect(await first(remote(master.local(), join(directory, 'main.cjs'), 'run'))).toBe(40);
      }),
    );
  });

  it('over maxMessageSize alone fail the one who wants them by a typed error', () =>
    withFiles({ 'main.cjs': `exports.ping = () => 'pong'; exports.run = () => require('./large.cjs'); exports.caught = () => { try { require('./large.cjs'); } catch (error) { return error.code; } };`, 'large.cjs': `module.exports = 7; // ${randomText(300_000, 1)}` }, (directory) =>
      withTree({ maxMessageSize: 65_536 }, async ({ master }) => {
        const kid = master.local();
        const main = join(directory, 'main.cjs');
        expect(await first(remote(kid, main, 'ping'))).toBe('pong');
        expect((await failure(remote(kid, main, 'run'))).code).toBe('ERR_TENDRIL_MODULE_TOO_LARGE');
        expect(await first(remote(kid, main, 'caught'))).toBe('ERR_TENDRIL_MODULE_TOO_LARGE');
        expect(await first(remote(kid, main, 'ping'))).toBe('pong');
      }),
    ));

  it.each([['CommonJS', 'cjs'], ['ES', 'mjs']])('a closure of 3,000 %s modules is evaluated, each once', (_what, extension) => {
    const files: Record<string, string> = {};
    // A tree of eights whose leaves also point across.
    for (let at = 0; at < 3000; at++) {
      const children = [...Array.from({ length: 8 }, (_, each) => at * 8 + each + 1), (at * 7919) % 3000].filter((each) => each < 3000 && each > at);
      const names = children.map((each) => `./m${String(each)}.${extension}`);
      files[`m${String(at)}.${extension}`] = extension === 'cjs' ? `${names.map((name) => `require('${name}');`).join('')} globalThis.loaded = (globalThis.loaded ?? 0) + 1; exports.run = () => globalThis.loaded;` : `${names.map((name) => `import '${name}';`).join('')} globalThis.loaded = (globalThis.loaded ?? 0) + 1; export const run = () => globalThis.loaded;`;
    }
    return withApplication(files, async ({ kid, directory }) => {
      expect(await first(remote(kid, join(directory, `m0.${extension}`), 'run'))).toBe(3000);
    });
  });

  it.each([['CommonJS', 'cjs', 5000], ['CommonJS', 'cjs', 500], ['ES', 'mjs', 5000], ['ES', 'mjs', 1000]])('a chain of %s modules (.%s), %d deep, comes to what it comes to in Node, and the child lives', (_what, extension, depth) => {
    const files: Record<string, string> = {};
    for (let at = 0; at < depth; at++) {
      const next = `./m${String(at + 1)}.${extension}`;
      if (extension === 'cjs') files[`m${String(at)}.cjs`] = `exports.depth = ${at + 1 < depth ? `require('${next}').depth + 1` : '1'};`;
      else files[`m${String(at)}.mjs`] = at + 1 < depth ? `import { depth as next } from '${next}'; export const depth = next + 1;` : 'export const depth = 1;';
    }
    files[`main.${extension}`] = extension === 'cjs' ? `exports.run = () => { try { return require('./m0.cjs').depth; } catch (error) { return error.name; } };` : `export const run = () => import('./m0.mjs').then(({ depth }) => depth, (error) => error.name);`;
    return withApplication(files, async ({ kid, main }) => {
      const [expected, actual] = [await inPlainNode(main, 'run'), await inChild(kid, main, 'run')];
      // How deep a stack is that overflows may differ; what fits in Node, fits.
      if (expected.value === depth) expect(actual).toEqual(expected);
      else expect([depth, 'RangeError']).toContain(actual.value);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    });
  });

  // Beyond 2,000 at once the master takes its time (docs/limits.md); what a hostile child may ask for is in its own test.
  it('a child that asks for 2,600 names that are not there gets as many answers, while its siblings work', () =>
    withFiles({ 'main.cjs': `exports.run = (count) => { let missing = 0; for (let at = 0; at < count; at++) { try { require('./absent-' + at + '.cjs'); } catch (error) { if (error.code === 'MODULE_NOT_FOUND') missing++; } } return missing; };` }, (directory) =>
      withTree({}, async ({ master }) => {
        const [greedy, sibling] = [master.local({ name: 'greedy' }), master.local({ name: 'sibling' })];
        const main = join(directory, 'main.cjs');
        expect(await first(remote(greedy, main, 'run', 10))).toBe(10);
        const settled: unknown[] = [];
        remote(greedy, main, 'run', 2600).subscribe({ next: (value) => settled.push(value), error: (error) => settled.push(error) });
        let calls = 0;
        for (; settled.length === 0; calls++) expect(await first(sibling.call(tasks.add, 1, 2))).toBe(3);
        expect(settled).toEqual([2600]);
        expect(calls).toBeGreaterThan(10);
      }),
    ));
});

/** A text that does not compress. */
function randomText(length: number, seed: number): string {
  let state = seed + 1;
  let made = '';
  while (made.length < length) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    made += state.toString(36);
  }
  return made.slice(0, length);
}

describe('a require that waits for its answer', () => {
  watchForLeaks();

  interface Blocked {
    readonly kid: ConnectedContext;
    readonly call: Promise<Error & { code?: string }>;
    /** Process that stands between the master and the child. */
    readonly parent: number;
  }

  /** A child whose `require` of a computed name has asked, and gets no answer. */
  function withBlocked(how: 'require' | 'import', swallow: boolean, test: (blocked: Blocked) => Promise<void>): Promise<void> {
    const source = lines(
      'exports.parent = () => process.ppid;',
      `exports.run = (name, swallow) => { if (swallow) process.on('SIGTERM', () => {}); return ${how}(name); };`,
    );
    return withFiles({ 'main.cjs': source, 'a.cjs': '', 'link/keep': '' }, (directory) =>
      withTree({ graceMs: 500 }, async ({ master }) => {
        const link = tap(join(directory, 'link'));
        const kid = master.local({ nodePath: link.nodePath });
        const main = join(directory, 'main.cjs');
        const parent = await first(remote<number>(kid, main, 'parent'));
        const asked = new Promise<void>((resolve) => {
          const watch = (message: unknown): void => {
            const { srcId, handle } = message as { srcId: number; handle: number };
            if (srcId !== kid.id || handle !== 100) return;
            unsubscribe('tendril:io', watch);
            // Before the master answers.
            link.mute();
            resolve();
          };
          subscribe('tendril:io', watch);
        });
        const call = failure(remote(kid, main, 'run', './a.cjs', swallow));
        await asked;
        await test({ kid, call, parent });
      }),
    );
  }

  const cases = [['require', 'SIGTERM ends it', false], ['import', 'SIGTERM ends it', false], ['require', 'SIGTERM is swallowed', true], ['import', 'SIGTERM is swallowed', true]] as const;

  it.each(cases)('(%s) ends with the process when its parent dies, where %s', (how, _what, swallow) =>
    withBlocked(how, swallow, async ({ kid, call, parent }) => {
      process.kill(parent, 'SIGKILL');
      expect((await call).code).toBe('ERR_TENDRIL_CHANNEL');
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost' });
      while (startedProcesses().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }),
  );

  it.each(cases)('(%s) ends with the process when that is shut down, where %s', (how, _what, swallow) =>
    withBlocked(how, swallow, async ({ kid, call }) => {
      await kid.shutdown();
      // By the end of the link, or by what the `require` throws.
      expect((await call).code).toMatch(/^ERR_TENDRIL_(?:CHANNEL|SHUTDOWN)$/);
      expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown' });
    }),
  );
});
