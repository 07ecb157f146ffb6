import { createHash } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { ConnectedContext, MasterOptions } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { atTheMaster, inPlainNode, remote, withFiles } from './support/application.ts';
import type { Files } from './support/application.ts';
import { first, watchForLeaks, withTree } from './support/tree.ts';

const GET_RESOURCE = 112;
const BYTES = Buffer.from(Array.from({ length: 1024 }, (_, index) => (index * 7) % 256));

/** What the application's own module and a package of it have beside them. */
const ASSETS: Files = {
  'package.json': '{"name":"app","version":"1.0.0"}',
  'text.txt': 'first line\nsecond line ü 😀\n',
  'bom.txt': '\ufefftext',
  'empty.txt': '',
  'bytes.bin': BYTES,
  'dir/a.txt': 'a',
  'dir/b.txt': 'b',
  'dir/deep/c.txt': 'c',
  'with space #?%.txt': 'odd',
  'answer.wasm': Buffer.from('0061736d010000000105016000017f03020100070a0106616e7377657200000a06010400412a0b', 'hex'),
  'node_modules/pack/package.json': '{"name":"pack","version":"2.0.0"}',
  'node_modules/pack/index.cjs': '',
  'node_modules/pack/lib/read.cjs': `const fs = require('fs'), path = require('path'); exports.atLoad = fs.readFileSync(path.join(__dirname, '../data/atload.txt'), 'utf8'); exports.read = (name) => fs.readFileSync(path.join(__dirname, '..', name), 'utf8');`,
  'node_modules/pack/data/atload.txt': 'read while loading',
  'node_modules/pack/data/more.txt': 'read later',
};

const HEAD = {
  cjs: `const fs = require('fs'), path = require('path'), util = require('util'); const at = (...names) => path.join(__dirname, ...names);`,
  mjs: `import fs, { readFileSync, existsSync, statSync, createReadStream, readdirSync } from 'node:fs'; import { readFile, stat, readdir, access, realpath } from 'node:fs/promises'; import util from 'node:util'; const at = (name) => new URL(name, import.meta.url);`,
} as const;

/** Of an error, what a program may look at. */
const ERROR = `const shown = ({ name, code, syscall, path, errno, message }) => ({ name, code, syscall, path, errno, message });
const thrown = (work) => { try { return { value: work() ?? null }; } catch (error) { return shown(error); } };
const rejected = async (work) => { try { return { value: await work() ?? null }; } catch (error) { return shown(error); } };
const called = (work) => new Promise((resolve) => work((error, ...values) => resolve(error ? shown(error) : values)));
const kind = (stats) => stats && [stats.isFile(), stats.isDirectory(), stats.isSymbolicLink(), stats.isFIFO(), String(stats.size), stats.mtime instanceof Date, Object.prototype.toString.call(stats.mode)];
`;

type Case = readonly [what: string, kind: keyof typeof HEAD, body: string];

/** Bodies of functions that give in a child what they give where the files are. */
const AS_IN_NODE: readonly Case[] = [
  ['readFileSync', 'cjs', `return [fs.readFileSync(at('text.txt'), 'utf8'), fs.readFileSync(at('bytes.bin')).toString('hex'), Buffer.isBuffer(fs.readFileSync(at('empty.txt')))]`],
  ['readFileSync with options', 'cjs', `return [fs.readFileSync(at('text.txt'), { encoding: 'utf8', flag: 'r' }), fs.readFileSync(at('text.txt'), { encoding: null }).length, fs.readFileSync(at('text.txt'), {}).length, fs.readFileSync(at('text.txt'), undefined).length]`],
  ['every encoding', 'cjs', `return ['utf8', 'utf-8', 'UTF8', 'latin1', 'binary', 'ascii', 'base64', 'base64url', 'hex', 'ucs2', 'utf16le'].map((encoding) => Buffer.from(fs.readFileSync(at('bytes.bin'), encoding), 'utf16le').toString('hex'))`],
  ['an encoding that does not exist', 'cjs', `return [thrown(() => fs.readFileSync(at('text.txt'), 'klingon')).name, await rejected(async () => fs.promises.readFile(at('text.txt'), 'klingon')).then(({ name }) => name)]`],
  ['a BOM is data', 'cjs', `return [...fs.readFileSync(at('bom.txt'))]`],
  ['readFile with a callback', 'cjs', `return [await called((done) => fs.readFile(at('text.txt'), 'utf8', done)), await called((done) => fs.readFile(at('bytes.bin'), (error, bytes) => done(error, bytes?.toString('hex')))), await called((done) => fs.readFile(at('text.txt'), { encoding: 'hex' }, done))]`],
  ['a callback comes later, never at once', 'cjs', `let at1 = 'before'; const seen = new Promise((resolve) => fs.readFile(at('text.txt'), () => resolve(at1))); at1 = 'after'; return seen`],
  ['promises', 'cjs', `return [await fs.promises.readFile(at('text.txt'), 'utf8'), await require('fs/promises').readFile(at('text.txt'), { encoding: 'hex' }), (await require('node:fs').promises.readFile(at('bytes.bin'))).toString('hex')]`],
  ['util.promisify', 'cjs', `return [await util.promisify(fs.readFile)(at('text.txt'), 'utf8'), await util.promisify(fs.exists)(at('text.txt')), await util.promisify(fs.exists)(at('absent')), kind(await util.promisify(fs.stat)(at('text.txt'))), await util.promisify(fs.readdir)(at('dir'))]`],
  ['names imported from node:fs, and URLs', 'mjs', `return [readFileSync(at('./text.txt'), 'utf8'), existsSync(at('./text.txt')), existsSync(at('./absent')), kind(statSync(at('./dir'))).slice(0, 4), readdirSync(at('./dir/')).sort(), await readFile(at('./text.txt'), 'utf8'), kind(await stat(at('./bytes.bin'))), (await readdir(at('./dir'))).sort(), await access(at('./text.txt')) ?? 'admitted']`],
  ['the default import, and a namespace', 'mjs', `const all = await import('node:fs'), promises = await import('fs/promises'); return [fs.readFileSync(at('./text.txt'), 'utf8'), all.readFileSync(at('./text.txt'), 'utf8'), all.default.existsSync(at('./text.txt')), await promises.readFile(at('./text.txt'), 'utf8'), await all.promises.readFile(at('./text.txt'), 'hex')]`],
  ['import.meta.dirname and filename', 'mjs', `return [readFileSync(import.meta.dirname + '/text.txt', 'utf8'), readFileSync(import.meta.filename, 'utf8').length > 100]`],
  ['odd names', 'mjs', `return [readFileSync(at('./with%20space%20%23%3F%25.txt'), 'utf8'), thrown(() => readFileSync(at('./a%2fb'))).code, thrown(() => readFileSync(new URL('http://a.example/'))).code, thrown(() => readFileSync(new URL('file://host/x'))).code]`],
  ['paths that are Buffers', 'cjs', `return [fs.readFileSync(Buffer.from(at('text.txt')), 'utf8'), fs.existsSync(Buffer.from(at('text.txt'))), await fs.promises.readFile(Buffer.from(at('text.txt')), 'utf8')]`],
  ['paths that are not normal', 'cjs', `return [fs.readFileSync(at('.') + '/./dir/../text.txt', 'utf8'), fs.readFileSync(at('.') + '//text.txt', 'utf8'), fs.existsSync(at('dir') + '/'), thrown(() => fs.readFileSync(at('text.txt') + '/')).code]`],
  ['createReadStream', 'cjs', `const all = async (...args) => { const chunks = []; for await (const chunk of fs.createReadStream(...args)) chunks.push(chunk); return typeof chunks[0] === 'string' ? chunks.join('') : Buffer.concat(chunks).toString('hex'); };
    return [await all(at('text.txt'), 'utf8'), await all(at('bytes.bin')), await all(at('bytes.bin'), { start: 10, end: 20 }), await all(at('bytes.bin'), { start: 1000 }), await all(at('bytes.bin'), { highWaterMark: 7 }), await all(at('text.txt'), { encoding: 'base64' }), await all(at('empty.txt')), await rejected(() => all(at('absent'))), (await rejected(() => all(at('dir')))).code]`],
  ['createReadStream by events, and a pipe', 'mjs', `const { PassThrough } = await import('node:stream'); const { pipeline } = await import('node:stream/promises'); const out = new PassThrough(); const chunks = []; out.on('data', (chunk) => chunks.push(chunk)); const stream = createReadStream(at('./bytes.bin')); const events = []; for (const event of ['open', 'ready', 'end', 'close']) stream.on(event, () => events.push(event)); await pipeline(stream, out); await new Promise((resolve) => setImmediate(resolve)); return [Buffer.concat(chunks).toString('hex'), events.includes('end') || stream.readableEnded, stream.bytesRead]`],
  ['a stream that is destroyed', 'cjs', `const stream = fs.createReadStream(at('bytes.bin')); stream.destroy(); return new Promise((resolve) => stream.on('close', () => resolve(stream.destroyed)))`],
  ['readdir', 'cjs', `return [fs.readdirSync(at('dir')).sort(), await called((done) => fs.readdir(at('dir'), (error, names) => done(error, ...(names ?? []).sort()))), (await fs.promises.readdir(at('dir'))).sort(), fs.readdirSync(at('dir'), 'hex').sort(), fs.readdirSync(at('dir'), { encoding: 'buffer' }).map((name) => name.toString()).sort()]`],
  ['readdir withFileTypes', 'cjs', `const entry = (each) => [each.name, each.isFile(), each.isDirectory(), each.isSymbolicLink()]; const byName = (a, b) => (a[0] < b[0] ? -1 : 1); return [fs.readdirSync(at('dir'), { withFileTypes: true }).map(entry).sort(byName), (await fs.promises.readdir(at('dir'), { withFileTypes: true })).map(entry).sort(byName)]`],
  ['readdir recursive', 'cjs', `return fs.readdirSync(at('dir'), { recursive: true }).sort()`],
  ['readdir of what is no directory', 'cjs', `return [thrown(() => fs.readdirSync(at('absent'))), thrown(() => fs.readdirSync(at('text.txt'))), await rejected(() => fs.promises.readdir(at('absent'))), await called((done) => fs.readdir(at('absent'), done))]`],
  ['stat and lstat', 'cjs', `return [kind(fs.statSync(at('text.txt'))), kind(fs.statSync(at('dir'))).slice(0, 4), kind(fs.lstatSync(at('bytes.bin'))), kind(await fs.promises.stat(at('empty.txt'))), kind(await fs.promises.lstat(at('text.txt'))), (await called((done) => fs.stat(at('text.txt'), done))).map(kind)]`],
  ['stat with options', 'cjs', `return [fs.statSync(at('absent'), { throwIfNoEntry: false }) ?? 'undefined', fs.lstatSync(at('absent/deep'), { throwIfNoEntry: false }) ?? 'undefined', typeof fs.statSync(at('text.txt'), { bigint: true }).size, kind(fs.statSync(at('text.txt'), { throwIfNoEntry: false }))]`],
  ['stat of what is not there', 'cjs', `return [thrown(() => fs.statSync(at('absent'))), await rejected(() => fs.promises.stat(at('absent'))), await called((done) => fs.stat(at('absent'), done)), thrown(() => fs.lstatSync(at('absent'))), /ENOENT|ENOTDIR/.test(thrown(() => fs.statSync(at('text.txt/deep'))).code)]`],
  ['exists', 'cjs', `return [fs.existsSync(at('text.txt')), fs.existsSync(at('dir')), fs.existsSync(at('absent')), fs.existsSync(at('text.txt/deep')), fs.existsSync(), fs.existsSync(null), fs.existsSync({}), fs.existsSync('\\0'), await new Promise((resolve) => fs.exists(at('text.txt'), resolve))]`],
  ['access', 'cjs', `return [fs.accessSync(at('text.txt')) ?? 'admitted', fs.accessSync(at('text.txt'), fs.constants.R_OK) ?? 'admitted', thrown(() => fs.accessSync(at('absent'))), await rejected(() => fs.promises.access(at('absent'))), await called((done) => fs.access(at('absent'), done)), (await called((done) => fs.access(at('text.txt'), fs.constants.F_OK, done))).filter((each) => each !== undefined)]`],
  ['realpath', 'cjs', `return [fs.realpathSync(at('text.txt')), fs.realpathSync(at('dir/../dir')), fs.realpathSync.native(at('text.txt')), await fs.promises.realpath(at('dir')), await called((done) => fs.realpath(at('text.txt'), done)), thrown(() => fs.realpathSync(at('absent'))).code]`],
  ['files that are missing', 'cjs', `return [thrown(() => fs.readFileSync(at('absent.txt'))), thrown(() => fs.readFileSync(at('absent/deep.txt'), 'utf8')), await rejected(() => fs.promises.readFile(at('absent.txt'))), await called((done) => fs.readFile(at('absent.txt'), done)), thrown(() => fs.readFileSync(at('dir'))).code, await rejected(() => fs.promises.readFile(at('dir'))).then(({ code }) => code)]`],
  ['arguments that are wrong', 'cjs', `return [thrown(() => fs.readFile(at('text.txt'))).code, thrown(() => fs.readFileSync(undefined)).code, thrown(() => fs.readFileSync('\\0')).code, thrown(() => fs.readFileSync(at('a\\0b'))).code, thrown(() => fs.statSync({})).code, thrown(() => fs.readFile(at('text.txt'), 'utf8', 7)).code]`],
  ['an AbortSignal', 'cjs', `return [(await rejected(() => fs.promises.readFile(at('text.txt'), { signal: AbortSignal.abort() }))).name, await fs.promises.readFile(at('text.txt'), { signal: new AbortController().signal, encoding: 'utf8' })]`],
  ['many at once', 'cjs', `const texts = await Promise.all(Array.from({ length: 200 }, (_, index) => fs.promises.readFile(at(index % 2 ? 'text.txt' : 'dir/a.txt'), 'utf8'))); return texts`],
  ['a synchronous read while asynchronous ones are under way', 'cjs', `const pending = [fs.promises.readFile(at('text.txt'), 'utf8'), fs.promises.readdir(at('dir')), called((done) => fs.stat(at('bytes.bin'), (error, stats) => done(error, stats.size)))]; const now = [fs.readFileSync(at('dir/b.txt'), 'utf8'), fs.readFileSync(at('text.txt'), 'utf8'), fs.existsSync(at('absent'))]; return [now, await Promise.all(pending)]`],
  ['what is written to the bytes of one read is not seen by the next', 'cjs', `const bytes = fs.readFileSync(at('bytes.bin')); bytes.fill(0); const again = fs.readFileSync(at('bytes.bin')); (await fs.promises.readFile(at('bytes.bin'))).fill(1); return [again.toString('hex'), fs.readFileSync(at('bytes.bin')).toString('hex')]`],
  ['a package that reads beside itself, also while it is loaded', 'cjs', `const { atLoad, read } = require('pack/lib/read.cjs'); return [atLoad, read('data/more.txt'), read('package.json'), JSON.parse(fs.readFileSync(require.resolve('pack/package.json'), 'utf8')).version]`],
  ['wasm', 'cjs', `const { instance } = await WebAssembly.instantiate(fs.readFileSync(at('answer.wasm'))); return instance.exports.answer()`],
  ['its own source', 'cjs', `return fs.readFileSync(__filename, 'utf8').includes('its own source')`],
  ['the real disk beside it', 'cjs', `const own = path.join(require('os').tmpdir(), 'tendril-own-' + process.pid); fs.writeFileSync(own, 'mine'); try { return [fs.readFileSync(own, 'utf8'), fs.existsSync(own), kind(fs.statSync(own)), await fs.promises.readFile(own, 'utf8'), fs.readdirSync(path.dirname(own)).includes(path.basename(own)), thrown(() => fs.readFileSync(own + '.absent')).code, fs.readFileSync('/dev/null', 'utf8'), thrown(() => fs.readFileSync('/dev/null/other')).code, kind(fs.statSync('/dev')).slice(0, 2)]; } finally { fs.unlinkSync(own); }`],
  ['the shape of fs', 'cjs', `return [Object.keys(fs).sort().length > 90, fs.readFileSync.name, fs.readFile.length > 0, fs === require('node:fs'), fs.promises === require('fs/promises'), typeof fs.realpathSync.native, typeof fs.Stats, typeof fs.Dirent, typeof fs.ReadStream]`],
];

function withCase([what, kind, body]: Case, test: (kid: ConnectedContext, main: string) => Promise<void>, options: MasterOptions = {}): Promise<void> {
  const declaration = kind === 'cjs' ? 'exports.run = async () =>' : 'export const run = async () =>';
  const main = `main.${kind}`;
  return withFiles({ ...ASSETS, [main]: `${HEAD[kind]} // ${what}\n${ERROR}\n${declaration} { ${body}; };` }, (directory) => withTree(options, ({ master }) => test(master.local({ name: 'kid' }), join(directory, main))));
}

/** Messages for a handle that a context sends while something runs. */
async function messagesDuring(context: ConnectedContext, wanted: number, work: () => Promise<unknown>): Promise<number> {
  let count = 0;
  const watch = (message: unknown): void => {
    const { srcId, handle } = message as { srcId: number; handle: number };
    if (srcId === context.id && handle === wanted) count++;
  };
  subscribe('tendril:io', watch);
  try {
    await work();
  } finally {
    unsubscribe('tendril:io', watch);
  }
  return count;
}

describe('files beside a module are read in a child as where they are', () => {
  watchForLeaks();

  it.each(AS_IN_NODE.map((each) => [each[0], each] as const))('%s', (_what, each) =>
    withCase(each, async (kid, main) => {
      const { value, error } = await inPlainNode(main, 'run');
      // The oracle itself must be well.
      expect(error).toBeUndefined();
      expect(JSON.parse(atTheMaster(JSON.stringify(await first(remote(kid, main, 'run')))))).toEqual(value);
    }),
  );
});

describe('files beside a module', () => {
  watchForLeaks();

  const reading: Files = {
    ...ASSETS,
    'main.cjs': `const fs = require('fs'), path = require('path');
      const shown = ({ code, syscall, path, errno }) => ({ code, syscall, path, errno });
      const outcome = async (work) => { try { return await work(); } catch (error) { return shown(error); } };
      exports.read = (name, encoding = 'utf8') => outcome(() => fs.readFileSync(path.join(__dirname, name), encoding));
      exports.readLater = (name) => outcome(() => fs.promises.readFile(path.join(__dirname, name), 'utf8'));
      exports.list = (name) => outcome(() => fs.readdirSync(path.join(__dirname, name)).sort());
      exports.exists = (name) => fs.existsSync(path.join(__dirname, name));
      exports.hashes = async (name) => {
        const { createHash } = require('crypto');
        const at = path.join(__dirname, name);
        const streamed = createHash('sha256');
        for await (const chunk of fs.createReadStream(at)) streamed.update(chunk);
        return [createHash('sha256').update(fs.readFileSync(at)).digest('hex'), createHash('sha256').update(await fs.promises.readFile(at)).digest('hex'), streamed.digest('hex'), fs.statSync(at).size];
      };
      exports.write = async (how) => {
        const at = path.join(__dirname, 'text.txt'), other = path.join(__dirname, 'other.txt'), own = path.join(require('os').tmpdir(), 'tendril-never-' + process.pid);
        const ways = {
          writeFileSync: () => fs.writeFileSync(at, 'x'),
          appendFileSync: () => fs.appendFileSync(at, 'x'),
          'promises.writeFile': () => fs.promises.writeFile(other, 'x'),
          writeFile: () => new Promise((resolve, reject) => fs.writeFile(other, 'x', (error) => (error ? reject(error) : resolve()))),
          createWriteStream: () => new Promise((resolve, reject) => fs.createWriteStream(other).on('error', reject).on('finish', resolve).end('x')),
          mkdirSync: () => fs.mkdirSync(path.join(__dirname, 'new')),
          'mkdirSync recursive': () => fs.mkdirSync(path.join(__dirname, 'new/deep'), { recursive: true }),
          unlinkSync: () => fs.unlinkSync(at),
          rmSync: () => fs.rmSync(path.join(__dirname, 'dir'), { recursive: true }),
          'promises.rm': () => fs.promises.rm(at),
          rmdirSync: () => fs.rmdirSync(path.join(__dirname, 'dir')),
          renameSync: () => fs.renameSync(at, other),
          copyFileSync: () => fs.copyFileSync(at, other),
          'rename into it': () => { fs.writeFileSync(own, 'x'); try { fs.renameSync(own, other); } finally { fs.unlinkSync(own); } },
          symlinkSync: () => fs.symlinkSync('text.txt', other),
          linkSync: () => fs.linkSync(at, other),
          truncateSync: () => fs.truncateSync(at),
          chmodSync: () => fs.chmodSync(at, 0o777),
          utimesSync: () => fs.utimesSync(at, 1, 1),
          mkdtempSync: () => fs.mkdtempSync(path.join(__dirname, 'x')),
          'openSync for writing': () => fs.openSync(at, 'w'),
          'readFileSync with a flag that writes': () => fs.readFileSync(other, { flag: 'w+' }),
        };
        return how === undefined ? Object.keys(ways) : outcome(ways[how]);
      };`,
  };

  function withReader(test: (reader: { kid: ConnectedContext; directory: string; ask: (name: string, ...args: readonly unknown[]) => Promise<unknown> }) => Promise<void>, options: MasterOptions = {}, files: Files = reading): Promise<void> {
    return withFiles(files, (directory) =>
      withTree(options, ({ master }) => {
        const kid = master.local({ name: 'kid' });
        return test({ kid, directory, ask: (name, ...args) => first(remote(kid, join(directory, 'main.cjs'), name, ...args)) });
      }),
    );
  }

  it('are fetched once, however often and by whatever function they are read', () =>
    withReader(async ({ kid, ask }) => {
      await ask('exists', 'main.cjs');
      expect(await messagesDuring(kid, GET_RESOURCE, () => ask('read', 'text.txt'))).toBe(1);
      expect(await messagesDuring(kid, GET_RESOURCE, () => ask('exists', 'text.txt'))).toBeLessThanOrEqual(1);
      expect(await messagesDuring(kid, GET_RESOURCE, async () => {
        for (const name of ['read', 'readLater', 'exists', 'read', 'hashes']) await ask(name, 'text.txt');
      })).toBe(0);
      // What is not there is not asked for again either.
      for (const name of ['read', 'exists']) expect(await messagesDuring(kid, GET_RESOURCE, () => ask(name, 'absent.txt'))).toBeLessThanOrEqual(1);
      expect(await messagesDuring(kid, GET_RESOURCE, async () => {
        for (const name of ['read', 'readLater', 'exists']) await ask(name, 'absent.txt');
      })).toBe(0);
    }));

  it('of 20 MB arrive exactly', () => {
    const big = Buffer.alloc(20 * 1024 * 1024);
    for (let at = 0, state = 1; at < big.length; at += 4) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      big.writeUInt32LE(state, at);
    }
    return withReader(
      async ({ kid, ask }) => {
        const hash = createHash('sha256').update(big).digest('hex');
        expect(await ask('hashes', 'big.bin')).toEqual([hash, hash, hash, big.length]);
        expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      },
      {},
      { ...reading, 'big.bin': big },
    );
  });

  it('over maxMessageSize fail the one who reads them by an error with a code, and nobody else', () =>
    withReader(
      async ({ kid, ask }) => {
        expect(await ask('read', 'big.bin')).toMatchObject({ code: expect.stringMatching(/^E/) as unknown });
        expect(await ask('read', 'dir/a.txt')).toBe('a');
        expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      },
      { maxMessageSize: 65_536 },
      { ...reading, 'big.bin': createNoise(400_000) },
    ));

  it('cannot be written, made, moved or removed: EROFS, and the files of the master stay', () =>
    withReader(async ({ ask, directory }) => {
      for (const how of (await ask('write')) as string[]) {
        const outcome = (await ask('write', how)) as { code: string };
        // Across devices, the kernel may see that first.
        expect([how, outcome.code]).toEqual([how, how === 'rename into it' ? expect.stringMatching(/EROFS|EXDEV/) : 'EROFS']);
        expect(outcome).toMatchObject({ syscall: expect.any(String) as unknown, path: expect.stringContaining('/dev/null/tendril/') as unknown });
      }
      expect(await ask('read', 'text.txt')).toBe(ASSETS['text.txt']);
      expect((await inPlainNode(join(directory, 'main.cjs'), 'read', 'text.txt')).value).toBe(ASSETS['text.txt']);
    }));

  it('that lie outside of the packages which were served are not there', () =>
    withFiles({ 'secret.txt': 'secret', 'app/.env': 'secret', 'app/.git/config': 'secret', 'app/node_modules/.cache/x': 'secret', 'app/node_modules/other/package.json': '{}', 'app/node_modules/other/data.txt': 'secret', 'app/dir/.hidden/x.txt': 'secret' }, (base) =>
      withFiles(reading, (elsewhere) =>
        withTree({}, async ({ master }) => {
          const app = join(base, 'app');
          for (const [name, content] of Object.entries(reading)) if (!name.includes('/')) writeFileSync(join(app, name), content);
          symlinkSync('../secret.txt', join(app, 'link.txt'));
          symlinkSync('..', join(app, 'up'));
          symlinkSync(elsewhere, join(app, 'elsewhere'));
          const kid = master.local();
          const main = join(app, 'main.cjs');
          expect(await first(remote(kid, main, 'read', 'text.txt'))).toBe(ASSETS['text.txt']);
          for (const name of ['../secret.txt', '.env', '.git/config', 'node_modules/.cache/x', 'node_modules/other/data.txt', 'dir/.hidden/x.txt', 'link.txt', 'up/secret.txt', 'elsewhere/text.txt', '/etc/passwd', join(relative(app, '/'), 'etc/passwd'), 'absent']) {
            for (const how of ['read', 'readLater']) {
              const outcome = (await first(remote(kid, main, how, name))) as { code: string; syscall: string; path: string };
              // Refused and missing look the same.
              expect([name, outcome.code, outcome.syscall]).toEqual([name, 'ENOENT', 'open']);
            }
            expect([name, await first(remote(kid, main, 'exists', name))]).toEqual([name, false]);
          }
          const listed = (await first(remote(kid, main, 'list', '.'))) as string[];
          expect(listed).toContain('text.txt');
          for (const name of ['.env', '.git']) expect(listed).not.toContain(name);
          expect(await first(remote(kid, main, 'list', '..'))).toMatchObject({ code: 'ENOENT' });
        }),
      ),
    ));

  it('are there for the package that comes later, once one of its modules has come', () =>
    withReader(async ({ ask }) => {
      expect(await ask('read', 'node_modules/pack/data/more.txt')).toMatchObject({ code: 'ENOENT' });
      expect(await ask('load', ['pack', 'lib/read.cjs'].join('/'))).toBe('read while loading');
      expect(await ask('readPackage', 'data/more.txt')).toBe('read later');
    }, {}, { ...reading, 'main.cjs': `${String(reading['main.cjs'])}\nlet pack; exports.load = (name) => (pack = require(name)).atLoad; exports.readPackage = (name) => pack.read(name);` }));

  it('are not there where the option assets is false', () =>
    withReader(
      async ({ ask }) => {
        expect(await ask('read', 'text.txt')).toMatchObject({ code: 'ENOENT', syscall: 'open' });
        expect(await ask('readLater', 'text.txt')).toMatchObject({ code: 'ENOENT' });
        expect(await ask('list', '.')).toMatchObject({ code: 'ENOENT' });
        expect(await ask('exists', 'text.txt')).toBe(false);
      },
      { modules: { assets: false } },
    ));
});

/** Bytes that do not compress. */
function createNoise(length: number): Buffer {
  const noise = Buffer.alloc(length);
  for (let at = 0, state = 7; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    noise[at] = state >>> 24;
  }
  return noise;
}
