import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { inflateRawSync, constants } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { MasterOptions } from 'tendril';
import type { ModuleAnswer, ModuleBatch, ModuleRecord, ResourceAnswer } from '../src/core/importer/records.ts';
import { decodeValue } from '../src/core/wire/values.ts';
import { unpackRecords } from '../src/importer/batch.ts';
import { profileOf } from '../src/parent/modules/profile.ts';
import * as tasks from './fixtures/tasks.ts';
import { remote, withFiles } from './support/application.ts';
import type { Files } from './support/application.ts';
import { attacked } from './support/hostile.ts';
import type { Attack } from './support/hostile.ts';
import { first, watchForLeaks } from './support/tree.ts';

/** Begins every secret: no byte that a child receives may say it, however it is packed. */
const CANARY = 'CANARY';
/** Begins what a child may have: that it is found shows that a canary would be. */
const ALLOWED = 'ALLOWED';

/** The directory of an application, and what lies around it. */
const AROUND: Files = {
  'secret.txt': `${CANARY}-beside-the-application`,
  'secret.cjs': `module.exports = '${CANARY}-module-beside-the-application';`,
  'app-evil/package.json': `{"name":"app-evil","secret":"${CANARY}-begins-alike"}`,
  'app-evil/index.js': `module.exports = '${CANARY}-begins-alike';`,
  'broken/package.json': '{',
  'app/package.json': '{"name":"app"}',
  'app/main.cjs': `const served = require('served'); exports.ping = () => served; exports.late = () => require('./late.cjs'); // ${ALLOWED}-main`,
  'app/late.cjs': `exports.run = () => 'the original';`,
  'app/other.cjs': `exports.run = () => ['the original', require('fs').readFileSync(require('path').join(__dirname, 'data.txt'), 'utf8')];`,
  'app/data.txt': `${ALLOWED}-data`,
  'app/lib/plain.txt': `${ALLOWED}-plain`,
  'app/lib/.hidden/x.txt': `${CANARY}-in-a-hidden-directory`,
  'app/lib/.hidden/x.cjs': `module.exports = '${CANARY}-in-a-hidden-directory';`,
  'app/.env': `TOKEN=${CANARY}-env`,
  'app/.npmrc': `//registry/:_authToken=${CANARY}-npmrc`,
  'app/.git/config': `[remote] url = https://${CANARY}-git@host`,
  'app/.secret.cjs': `module.exports = '${CANARY}-hidden-module';`,
  'app/node_modules/.cache/x.txt': `${CANARY}-cache`,
  'app/node_modules/.cache/package.json': `{"name":"cache","main":"x.txt"}`,
  'app/node_modules/.package-lock.json': `{"secret":"${CANARY}-lock"}`,
  'app/node_modules/loose.txt': `${CANARY}-loose`,
  'app/node_modules/served/package.json': '{"name":"served","main":"index.cjs"}',
  'app/node_modules/served/index.cjs': `module.exports = '${ALLOWED}-served';`,
  'app/node_modules/served/data.txt': `${ALLOWED}-served-data`,
  'app/node_modules/served/.secret': `${CANARY}-hidden-in-a-served-package`,
  'app/node_modules/served/.npmrc': `${CANARY}-npmrc-in-a-served-package`,
  'app/node_modules/served/node_modules/inner/package.json': '{"name":"inner"}',
  'app/node_modules/served/node_modules/inner/index.js': `module.exports = 1;`,
  'app/node_modules/served/node_modules/inner/data.txt': `${CANARY}-nested-package`,
  'app/node_modules/unserved/package.json': '{"name":"unserved"}',
  'app/node_modules/unserved/index.js': `module.exports = '${ALLOWED}-by-name';`,
  'app/node_modules/unserved/data.bin': `${CANARY}-package-that-was-not-served`,
  'app/node_modules/served-not/package.json': '{"name":"served-not"}',
  'app/node_modules/served-not/data.txt': `${CANARY}-package-that-begins-alike`,
};

/** What cannot be written as text. */
function prepare(base: string): void {
  const link = (target: string, path: string): void => {
    symlinkSync(target, join(base, path));
  };
  link('../secret.txt', 'app/link-out.txt');
  link('../secret.cjs', 'app/link-out.cjs');
  link('..', 'app/dir-out');
  link('.env', 'app/link-env.txt');
  link('/etc', 'app/etc');
  link('/dev/zero', 'app/zero');
  link('/proc/self/environ', 'app/environ');
  link('../../../secret.txt', 'app/node_modules/served/link.txt');
  link('../../../secret.cjs', 'app/node_modules/served/link.cjs');
  link('../../..', 'app/node_modules/served/up');
  link('../unserved', 'app/node_modules/served/neighbour');
  link('loop', 'app/loop');
  execFileSync('mkfifo', [join(base, 'app/pipe'), join(base, 'app/pipe.cjs')]);
  for (const name of ['huge.bin', 'huge.cjs']) {
    writeFileSync(join(base, 'app', name), '');
    // It has no blocks on the disk.
    truncateSync(join(base, 'app', name), 3_000_000_000);
  }
}

/**
 * Behind the PRELUDE: the requests of the importer as docs/protocol.md has them, and a record of all that comes. `work(base)`
 * is called when the module of a call and all that it needs have been sent; `finish()` waits until what was asked for so far
 * has been answered, then the attack is over.
 */
const TOOLS = `
const PROFILE = ${JSON.stringify(profileOf(process.version))};
const moduleRequest = (kind, from, specifier) => cbor([PROFILE, kind, from, specifier]);
const resourceRequest = (operation, path) => cbor([operation, path]);
// Not by raw(), which waits: a master that is asked for much stops to read until its answers are read.
const out = new net.Socket({ fd: 4, readable: false, writable: true }).on('error', () => process.exit(0));
const askModule = (kind, from, specifier) => out.write(frames(0, 100, moduleRequest(kind, from, specifier)));
const askResource = (operation, path) => out.write(frame(0, me, 112, 0, resourceRequest(operation, path)));
const record = fs.openSync(DIRECTORY + '/received', 'a');
const ends = new Set();
let ended = () => log('the attack is over');
others = ({ handle, payload }) => {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(handle, 0); head.writeUInt32BE(payload.length, 4);
  fs.writeSync(record, Buffer.concat([head, payload]));
  for (const end of ['the-last-module', 'the-last-resource']) if (payload.length < 1000 && payload.includes(end)) ends.add(end);
  if (ends.size === 2) { ends.clear(); ended(); }
};
const finish = () => { askModule('id', '', 'file:///the-last-module'); askResource('stat', '/the-last-resource'); };
let work = () => {};
calls = ({ payload, replyTo }) => { const [, id, , , [base]] = codec.decode(payload); work(base, id); };
`;

/** One message that the hostile child received. */
interface Received {
  readonly handle: number;
  readonly payload: Buffer;
}

function receivedIn(directory: string): Received[] {
  const path = join(directory, 'received');
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const received: Received[] = [];
  for (let at = 0; at + 8 <= bytes.length; ) {
    const end = at + 8 + bytes.readUInt32BE(at + 4);
    received.push({ handle: bytes.readUInt32BE(at), payload: bytes.subarray(at + 8, end) });
    at = end;
  }
  return received;
}

function moduleAnswers(received: readonly Received[]): ModuleAnswer[] {
  return received.filter(({ handle }) => handle === 107).flatMap(({ payload }) => (decodeValue(payload) as ModuleBatch)[1] ?? []);
}

function moduleRecords(received: readonly Received[]): ModuleRecord[] {
  return received.filter(({ handle }) => handle === 107).flatMap(({ payload }) => {
    const [, answers, packed] = decodeValue(payload) as ModuleBatch;
    return answers === null ? [] : unpackRecords(packed);
  });
}

function resourceAnswers(received: readonly Received[]): ResourceAnswer[] {
  return received.filter(({ handle }) => handle === 113).map(({ payload }) => decodeValue(payload) as ResourceAnswer);
}

/** Where a byte string of CBOR may begin: behind a head with a length that fits, or as an attachment at the end. */
function byteStrings(payload: Buffer): number[] {
  const starts = [0];
  for (let at = 1; at < payload.length; at++) {
    const left = payload.length - at;
    const head = payload[at - 1] ?? 0;
    if (head > 0x40 && head < 0x58 && head - 0x40 <= left) starts.push(at);
    if (payload[at - 2] === 0x58 && head <= left) starts.push(at);
    if (at >= 3 && payload[at - 3] === 0x59 && payload.readUInt16BE(at - 2) <= left) starts.push(at);
    if (at >= 5 && payload[at - 5] === 0x5a && payload.readUInt32BE(at - 4) <= left) starts.push(at);
    if (at >= 5 && payload[at - 5] === 0x1a && payload.readUInt32BE(at - 4) <= left) starts.push(payload.length - payload.readUInt32BE(at - 4));
    if (at >= 3 && payload[at - 3] === 0x19 && payload.readUInt16BE(at - 2) <= left) starts.push(payload.length - payload.readUInt16BE(at - 2));
  }
  return [...new Set(starts)];
}

/** Every text that begins like `mark` in what was received: as it is, and inflated from wherever deflate data may begin. */
function marked(mark: string, received: readonly Received[]): string[] {
  const found = new Set<string>();
  const search = (bytes: Buffer): void => {
    if (!bytes.includes(mark)) return;
    for (const [hit] of bytes.toString('latin1').matchAll(new RegExp(`${mark}[\\w-]*`, 'g'))) found.add(hit);
  };
  for (const { payload } of received) {
    search(payload);
    for (const at of byteStrings(payload)) {
      try {
        search(inflateRawSync(payload.subarray(at), { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 64 * 1024 * 1024 }));
      } catch {
        // No deflate data begins here.
      }
    }
  }
  return [...found].sort();
}

interface Spied extends Attack {
  /** Where the application lies. */
  readonly base: string;
  readonly directory: string;
  /** Sends the application's main module, and lets the attack run to its end. */
  begin(): Promise<Received[]>;
}

/** Runs a test in which a hostile child attacks the importer of its master, which has an application beside secrets. */
function spied(source: string, test: (spied: Spied) => Promise<void>, options: MasterOptions = {}, files: Files = AROUND): () => Promise<void> {
  return () =>
    withFiles(files, async (base) => {
      if (files === AROUND) prepare(base);
      await attacked(
        `${TOOLS}\n${source}`,
        async (attack, directory) => {
          const begin = async (): Promise<Received[]> => {
            remote(attack.hostile, join(base, 'app/main.cjs'), 'ping', base).subscribe({ error: () => undefined });
            await attack.done();
            return receivedIn(directory);
          };
          await test({ ...attack, base, directory, begin });
        },
        options,
      )();
    });
}

/** Names of modules that a child must not get, in terms of the directory around the application. */
const FORBIDDEN_MODULES: readonly string[] = [
  '/etc/passwd', 'file:///etc/passwd', 'file://localhost/etc/passwd', 'file://other/etc/passwd', '//other/etc/passwd', '/proc/self/environ', '/proc/self/cmdline', '/proc/self/mem', '/dev/zero', '/dev/stdin', '/dev/tty',
  'BASE/secret.txt', 'BASE/secret.cjs', 'BASE/secret', 'file://BASE/secret.cjs', 'file://BASE/app/../secret.cjs', 'file://BASE/app/%2e%2e/secret.cjs', 'file://BASE/app/.%2e/secret.cjs', 'file://BASE/app%2f..%2fsecret.cjs',
  '../secret.cjs', '../secret.txt', '../secret', './../secret.cjs', './lib/../../secret.cjs', './%2e%2e/secret.cjs', './.%2E/secret.cjs', '..%2fsecret.cjs', './..%5csecret.cjs', '..\\secret.cjs', '.\\..\\secret.cjs',
  '../../../../../../../../../../../../etc/passwd', './../../../../../../../../../../../../etc/passwd', './%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd', '/..//../etc/passwd', '/etc/./passwd', '/etc//passwd', '/etc/passwd/', '/etc/passwd?x', '/etc/passwd#x', '/etc/passwd%00', '/etc/passwd%00.cjs', '/etc/passwd\0', '/etc/passwd\0.cjs', './\0', './main.cjs\0/../../secret.cjs',
  './link-out.txt', './link-out.cjs', './dir-out/secret.txt', './dir-out/secret.cjs', './dir-out/app-evil', './dir-out', './link-env.txt', './etc/passwd', './etc/hostname', './zero', './environ', './loop', './pipe', './pipe.cjs', './huge.bin', './huge.cjs', './lib', './etc',
  './.env', './.npmrc', './.git/config', './.secret.cjs', './.secret', './lib/.hidden/x.txt', './lib/.hidden/x.cjs', './lib/../.env', '.env', '.npmrc', '.git/config', 'BASE/app/.env', 'file://BASE/app/.env', 'file://BASE/app/%2eenv', './%2eenv', './%2Eenv?x=1',
  '../app-evil', '../app-evil/index.js', 'BASE/app-evil/index.js', 'BASE/app-evil', '../app-evil/package.json', './../app-evil/index.js',
  './node_modules/.cache/x.txt', './node_modules/.cache', './node_modules/.package-lock.json', './node_modules/loose.txt', '.cache/x.txt', '.cache', '.package-lock.json', 'served/../.cache/x.txt', 'served/../../.env', 'served/../../../secret.cjs', 'served/../loose.txt', '@x/../.cache/x.txt', '@x/../../.env', '@x/..', '@/../.env', '@served/../served-not/data.txt', 'served//../../.env', 'served/./../../.env', 'served/%2e%2e/%2e%2e/.env', 'served/..%2f..%2f.env', 'served\\..\\..\\.env', 'served/..\\..\\.env',
  'served/.secret', 'served/.npmrc', 'served/./.secret', 'served/%2esecret', './node_modules/served/.secret', 'BASE/app/node_modules/served/.secret',
  'served/link.txt', 'served/link.cjs', 'served/link', 'served/up/secret.cjs', 'served/up/secret.txt', 'served/up/app/.env', 'served/up', './node_modules/served/link.txt', './node_modules/served/up/secret.cjs', './node_modules/served/neighbour/data.bin',
  './node_modules/unserved/data.bin', './node_modules/served-not/data.txt', './node_modules/served/node_modules/inner/data.txt', './node_modules/served/../unserved/data.bin', './node_modules/unserved', 'BASE/app/node_modules/unserved/data.bin',
  'C:\\Windows\\win.ini', 'C:/Windows/win.ini', '\\\\server\\share\\x', '\\\\?\\C:\\x', '//server/share/x', 'file:////server/share/x', 'file:///C:/x', 'CON', 'NUL', 'C:secret',
  '', ' ', '.', '..', '/', '//', './', '../', '~', '~/.ssh/id_rsa', '~root/.bashrc', '$HOME/.ssh/id_rsa', '*', './*', './**', '?', '#', '%', '%00', '\0', 'file:', 'file://', 'file:///', 'node:', 'http://127.0.0.1/', 'https://host/x.mjs', 'ftp://host/x', 'blob:x', 'constructor', '__proto__', 'toString', 'hasOwnProperty', 'tendril', 'tendril/package.json', 'tendril/dist/master/master.js',
  `data:text/javascript,import 'file://BASE/secret.cjs'`, `data:text/javascript,import 'BASE/secret.cjs'`, `data:text/javascript,import '../secret.cjs'`, `data:text/javascript,export * from 'file://BASE/secret.txt'`, `data:text/javascript,import 'file:///etc/passwd'`, `data:text/javascript,import x from 'file://BASE/app/.env'`, `data:text/javascript,import("file://BASE/secret.cjs")`,
  `data:text/javascript;base64,${Buffer.from(`import 'file:///etc/passwd'`).toString('base64')}`, `data:text/javascript,import { createRequire } from 'node:module'; createRequire(import.meta.url)('BASE/secret.cjs')`, `data:application/json,{}`, `data:application/wasm,x`,
];

/** Modules that may be named as those who ask. */
const ASKING: readonly string[] = [
  'MAIN', 'file://BASE/app/node_modules/served/index.cjs', 'file://BASE/app/absent.cjs', 'file://BASE/app/lib/x.cjs', 'file://BASE/app/dir-out/x.cjs', 'file://BASE/app/dir-out/app-evil/index.js', 'file://BASE/app/etc/x.cjs', 'file://BASE/x.cjs', 'file://BASE/secret.cjs', 'file:///x.cjs', 'file:///etc/x', 'file://BASE/app/../x.cjs', 'file://BASE/app/.git/x.cjs', 'file://BASE/app/node_modules/x.cjs', 'file://BASE/app/node_modules/.cache/x.cjs', 'file://BASE/app/node_modules/unserved/index.js', 'file://BASE/app-evil/index.js', 'file:///.library/tendril.cjs', 'MAIN?x', 'MAIN#../..', '', 'node:fs', 'data:text/javascript,', 'http://host/x', 'BASE/app/main.cjs', 'file://host/x', 'file:///%00', 'file:///%2f', '__proto__',
];

/** Files that a child must not read, list or learn anything of. */
const FORBIDDEN_FILES: readonly string[] = [
  '/etc/passwd', '/etc/hostname', '/etc', '/', '//', '/proc/self/environ', '/proc/self/cmdline', '/proc/self/fd', '/proc/self/maps', '/proc/self/root/etc/passwd', '/proc/self/cwd/package.json', '/dev/zero', '/dev/stdin', '/dev/fd/0', '/dev/tty', '/dev/random', '/tmp', '/root', '/root/.ssh/id_rsa',
  'BASE', 'BASE/', 'BASE/secret.txt', 'BASE/secret.cjs', 'BASE/app/../secret.txt', 'BASE/app/./../secret.txt', 'BASE/app/lib/../../secret.txt', 'BASE/app/%2e%2e/secret.txt', 'BASE/app/..%2fsecret.txt', 'BASE/app/..\\secret.txt', 'BASE/app//../secret.txt', 'BASE/app-evil', 'BASE/app-evil/index.js', 'BASE/app-evil/package.json', 'BASE/broken/package.json',
  'BASE/app/link-out.txt', 'BASE/app/dir-out', 'BASE/app/dir-out/secret.txt', 'BASE/app/dir-out/app/.env', 'BASE/app/link-env.txt', 'BASE/app/etc', 'BASE/app/etc/passwd', 'BASE/app/zero', 'BASE/app/environ', 'BASE/app/loop', 'BASE/app/pipe', 'BASE/app/pipe/x',
  'BASE/app/.env', 'BASE/app/./.env', 'BASE/app/lib/../.env', 'BASE/app/.npmrc', 'BASE/app/.git', 'BASE/app/.git/config', 'BASE/app/lib/.hidden', 'BASE/app/lib/.hidden/x.txt', 'BASE/app/.env/', 'BASE/app/.secret.cjs',
  'BASE/app/node_modules', 'BASE/app/node_modules/', 'BASE/app/node_modules/.cache', 'BASE/app/node_modules/.cache/x.txt', 'BASE/app/node_modules/.package-lock.json', 'BASE/app/node_modules/loose.txt', 'BASE/app/node_modules/unserved', 'BASE/app/node_modules/unserved/data.bin', 'BASE/app/node_modules/served-not/data.txt', 'BASE/app/node_modules/served/../unserved/data.bin', 'BASE/app/node_modules/served/.secret', 'BASE/app/node_modules/served/.npmrc', 'BASE/app/node_modules/served/link.txt', 'BASE/app/node_modules/served/up', 'BASE/app/node_modules/served/up/secret.txt', 'BASE/app/node_modules/served/neighbour/data.bin', 'BASE/app/node_modules/served/node_modules', 'BASE/app/node_modules/served/node_modules/inner/data.txt',
  '//server/share/x', '/C:/Windows/win.ini', '/absent', '/absent/deep', 'BASE/app/absent', 'BASE/app/data.txt/deep', `/${'x'.repeat(255)}`, `/${'x'.repeat(256)}`, `/${'x/'.repeat(2000)}`,
];

/** Payloads that are no requests. */
const GARBAGE: readonly string[] = [
  '', 'ff', '00', 'f6', '60', '80', '8100', '81f6', 'a0', '9f', '9fff', '1c', '5b7fffffffffffffff', '9b7fffffffffffffff', 'bb7fffffffffffffff', '9a7fffffff', 'd9d9941a7fffffff', 'd9d9941bffffffffffffffff', 'd81b8261616167', 'd81c8101', 'd9dffe8419e0008161610101', 'a1695f5f70726f746f5f5fa0', `c25a00020000${'ff'.repeat(0x20000)}`,
  `${'81'.repeat(100_000)}00`, '84f6f6f6f6', '8400000000', '84a0a0a0a0', '8480808080', '8460606060', '84647265616460 6060'.replaceAll(' ', ''), '82f6f6', '826472656164f6', '82647265616400', '826472656164a0', '826472656164456162636465', '8264726561646161', '82647265616463616263',
];

describe('a hostile child that asks for modules and files', () => {
  watchForLeaks();

  const ASK_ALL = `
    const fill = (text, base, id) => text.replaceAll('BASE', base).replaceAll('MAIN', id);
    work = (base, id) => {
      // By IDs first: what was got by a name may be asked for by its ID.
      for (const specifier of SPECIFIERS) askModule('id', '', fill(specifier, base, id));
      for (const from of FROM) for (const specifier of SPECIFIERS) for (const kind of ['require', 'import']) askModule(kind, fill(from, base, id), fill(specifier, base, id));
      for (const path of PATHS) for (const operation of ['read', 'stat', 'list']) askResource(operation, fill(path, base, id));
      finish();
    };`;

  const given = (from: readonly string[], specifiers: readonly string[], paths: readonly string[]): string => `const FROM = ${JSON.stringify(from)}, SPECIFIERS = ${JSON.stringify(specifiers)}, PATHS = ${JSON.stringify(paths)};`;

  it(
    'gets what it may have, so that the canaries below would be found',
    spied(`${given(['MAIN'], ['served', 'unserved', './data.txt', './lib/plain.txt'], ['BASE/app/data.txt', 'BASE/app/lib/plain.txt', 'BASE/app/node_modules/served/data.txt', 'BASE/app', 'BASE/app/lib'])} ${ASK_ALL}`, async ({ begin, base }) => {
      const received = await begin();
      expect(marked(ALLOWED, received)).toEqual([`${ALLOWED}-by-name`, `${ALLOWED}-data`, `${ALLOWED}-main`, `${ALLOWED}-plain`, `${ALLOWED}-served`, `${ALLOWED}-served-data`]);
      expect(marked(CANARY, received)).toEqual([]);
      const listed = resourceAnswers(received).filter(([operation, , error]) => operation === 'list' && error === null);
      const names = Object.fromEntries(listed.map(([, path, , value]) => [path.slice(base.length), (value as [string, string][]).map(([name]) => name)]));
      expect(names['/app']).toContain('data.txt');
      expect(names['/app/lib']).toEqual(['plain.txt']);
      for (const name of ['.env', '.npmrc', '.git', 'node_modules']) expect(names['/app']).not.toContain(name);
    }),
  );

  // One child for each who asks: what one has got may give it more than another.
  it.each(ASKING)('gets none of what it may not have, in the name of %j', (from) =>
    spied(`${given([from], FORBIDDEN_MODULES, [])} ${ASK_ALL}`, async ({ begin, base }) => {
      const received = await begin();
      expect(marked(CANARY, received)).toEqual([]);
      // Only modules of the application's own packages; by names that are data, their own content at most.
      const files = moduleRecords(received).map(([id]) => id).filter((id) => id.startsWith('file:'));
      expect(files.filter((id) => !id.startsWith(`file://${base}/app/`) || id.slice(`file://${base}/app/`.length).split('/').some((step) => step.startsWith('.')))).toEqual([]);
      expect(marked('root:x:0', received)).toEqual([]);
    })(),
  );

  it(
    'learns nothing of files outside: they are as absent as what is not there',
    spied(`${given([], [], FORBIDDEN_FILES)} ${ASK_ALL}`, async ({ begin, base }) => {
      const received = await begin();
      expect(marked(CANARY, received)).toEqual([]);
      const answers = resourceAnswers(received).filter(([, path]) => path !== '/the-last-resource');
      expect(answers.filter(([, , error]) => error !== 'ENOENT' && error !== 'ENOTDIR').map(([operation, path, error]) => [operation, path.replace(base, 'BASE'), error])).toEqual([]);
      for (const [, path, error, value] of answers) expect([path, error, value]).toEqual([path, 'ENOENT', null]);
    }),
  );

  it(
    'learns nothing of modules outside: they are as absent as what is not there',
    spied(
      `work = (base, id) => {
        for (const kind of ['require', 'import']) for (const specifier of ['../secret.cjs', '../absent.cjs', '../secret', '../app-evil', '../app-evil/package.json', '../broken', '../broken/package.json', '../broken/x', '../app-evil/nothing', base + '/secret.cjs', base + '/absent.cjs', '/etc/passwd', '/etc/absent', '/etc', '/absent', './.env', './.absent', './dir-out/secret.cjs', './dir-out/absent.cjs', './link-out.cjs']) askModule(kind, id, specifier);
        finish();
      };`,
      async ({ begin }) => {
        const answers = moduleAnswers(await begin()).filter(([, , specifier]) => !specifier.includes('the-last'));
        for (const kind of ['require', 'import']) {
          const absent = answers.find(([of, , specifier]) => of === kind && specifier === '../absent.cjs')?.[3];
          for (const [of, , specifier, target] of answers) if (of === kind) expect([kind, specifier, target]).toEqual([kind, specifier, absent]);
        }
      },
    ),
  );

  it(
    'gets nothing before anything was sent to it',
    spied(
      `${given(['MAIN', 'file://BASE/app/main.cjs'], ['served', 'unserved', './data.txt', './main.cjs', 'BASE/app/main.cjs', ...FORBIDDEN_MODULES.slice(0, 60)], ['BASE/app/data.txt', 'BASE/app', ...FORBIDDEN_FILES.slice(0, 20)])} ${ASK_ALL}
      let asked = false;
      const before = others;
      others = (message) => { if (message.handle === 5000 && !asked) { asked = true; const { base } = codec.decode(message.payload); work(base, 'file://' + base + '/app/main.cjs'); } else before(message); };`,
      async ({ hostile, base, done, directory }) => {
        const talk = hostile.handle<{ base: string }>(5000);
        talk.next({ base });
        await done();
        talk.close();
        const received = receivedIn(directory);
        expect(marked(CANARY, received)).toEqual([]);
        expect(marked(ALLOWED, received)).toEqual([]);
        expect(moduleAnswers(received).filter(([, , , target]) => target?.startsWith('file:') === true)).toEqual([]);
      },
    ),
  );

  it(
    'that asks once is answered once, where the question is one',
    spied(
      `work = (base, id) => {
        for (let at = 0; at < 50; at++) { askModule('require', id, './absent-' + at + '.cjs'); askResource('stat', base + '/app/absent-' + at); }
        finish();
      };`,
      async ({ begin }) => {
        const received = await begin();
        expect(moduleAnswers(received).filter(([, , specifier]) => specifier.startsWith('./absent-'))).toHaveLength(50);
        expect(resourceAnswers(received).filter(([, path]) => path.includes('/absent-'))).toHaveLength(50);
      },
    ),
  );

  it(
    'that sends garbage is not answered, fills no log, and can be served afterwards',
    spied(
      `const garbage = ${JSON.stringify(GARBAGE)}.map(hex);
      work = (base, id) => {
        for (const handle of [100, 112]) {
          for (const payload of garbage) for (const replyTo of [0, 0x20000000, 999]) send(0, handle, payload, replyTo);
          for (const value of [[PROFILE, 'require', id], [PROFILE, 'require', id, {}], [PROFILE, 'require', id, 7], [PROFILE, 'require', id, ['./data.txt']], [PROFILE, 'require', [id], './data.txt'], [PROFILE, 'constructor', id, './data.txt'], [PROFILE, '__proto__', id, './data.txt'], ['other', 'require', id, './data.txt'], [PROFILE === 'native' ? 'rendered' : 'native', 'require', id, 'served'], [PROFILE, 'require', id, Buffer.from('./data.txt')], [PROFILE, 'require', id, 'x'.repeat(1 << 20)], [PROFILE, 'require', 'x'.repeat(1 << 20), 'served'], ['read', 'data.txt'], ['read', './data.txt'], ['read', 'file://' + base + '/app/data.txt'], ['read', base + '/secret.txt\\0'], ['read', base + '/app/data.txt\\0/../../secret.txt'], ['read', Buffer.from(base + '/app/data.txt')], ['read', '/' + 'x'.repeat(1 << 20)], ['write', base + '/app/data.txt'], ['open', base + '/app/data.txt'], ['constructor', base + '/app/data.txt'], [null, null], 'read', { 0: 'read', 1: base + '/app/data.txt' }]) send(0, handle, cbor(value));
          let state = 7;
          for (let round = 0; round < 2000; round++) { const noise = Buffer.alloc(round % 60); for (let at = 0; at < noise.length; at++) noise[at] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24; send(0, handle, noise); }
        }
        askResource('read', base + '/app/data.txt');
        finish();
      };`,
      async ({ begin, records, honest }) => {
        const received = await begin();
        expect(marked(CANARY, received)).toEqual([]);
        expect(marked(ALLOWED, received)).toContain(`${ALLOWED}-data`);
        expect(records.length).toBeLessThanOrEqual(150);
        expect(Math.max(...records.map(({ message }) => message.length))).toBeLessThan(10_000);
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
      },
    ),
  );

  it(
    'that asks in the name of others, or others than its parent, gets and does nothing',
    spied(
      `work = (base, id) => {
        for (const src of [0, 1, 7, 65535]) for (const dst of [0, 1, 2, 7]) { raw(frame(dst, src, 100, 0, moduleRequest('require', id, './data.txt'))); raw(frame(dst, src, 112, 0, resourceRequest('read', base + '/app/data.txt'))); }
        for (const dst of [1, 7]) { send(dst, 100, moduleRequest('require', id, './data.txt')); send(dst, 112, resourceRequest('read', '/etc/passwd')); send(dst, 112, resourceRequest('read', base + '/secret.txt')); }
        finish();
      };`,
      async ({ begin, honest, master }) => {
        const before = master.stats().get(honest.id);
        const received = await begin();
        expect(marked(CANARY, received)).toEqual([]);
        expect(marked(`${ALLOWED}-data`, received)).toEqual([]);
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        expect(master.stats().get(honest.id)).toEqual(before);
      },
    ),
  );

  it(
    'cannot plant modules or files in its master and siblings',
    spied(
      `work = (base, id) => {
        const evil = Buffer.from("exports.run = () => ['planted', 'planted'];");
        const ids = ['late.cjs', 'other.cjs', 'main.cjs'].map((name) => 'file://' + base + '/app/' + name);
        const packed = require('zlib').deflateRawSync(cbor(ids.map((each) => [each, 'commonjs', evil, {}, {}, ['run'], null])));
        const part = require('zlib').deflateRawSync(cbor([['part', 'part', Buffer.from("require('fs').writeFileSync(" + JSON.stringify(DIRECTORY + '/executed') + ", 'x'); return {};"), {}, {}, [], null]]));
        const answers = [['require', id, './late.cjs', 'node:fs'], ['id', '', ids[0], ids[0]]];
        for (const dst of [0, 1, 7]) for (const src of [me, 0, 1]) {
          for (const handle of [107, 108]) for (const payload of [cbor([PROFILE, answers, packed]), cbor([PROFILE, [], part]), cbor([PROFILE, answers, Buffer.alloc(0)]), cbor(packed), cbor(ids), cbor([dst, PROFILE, ids])]) raw(frame(dst, src, handle, 0, payload));
          for (const handle of [113]) for (const operation of ['read', 'stat', 'list']) raw(frame(dst, src, handle, 0, cbor([operation, base + '/app/data.txt', null, Buffer.from('planted')])));
        }
        finish();
      };`,
      async ({ begin, honest, base, directory, master }) => {
        await begin();
        for (const kid of [honest, master.local({ name: 'later' })]) {
          expect(await first(remote(kid, join(base, 'app/other.cjs'), 'run'))).toEqual(['the original', `${ALLOWED}-data`]);
          expect(await first(remote(kid, join(base, 'app/late.cjs'), 'run'))).toBe('the original');
        }
        expect(existsSync(join(directory, 'executed'))).toBe(false);
      },
    ),
  );

  it(
    'does not stop its master by pipes, devices, directories and endless files',
    spied(
      `work = (base, id) => {
        for (let round = 0; round < 20; round++) {
          for (const name of ['pipe', 'zero', 'huge.bin', 'environ', 'loop', 'lib', 'etc', '.', '..', 'pipe.cjs', 'huge.cjs']) {
            for (const operation of ['read', 'stat', 'list']) askResource(operation, base + '/app/' + name);
            for (const kind of ['require', 'import']) askModule(kind, id, './' + name);
            askModule('id', '', 'file://' + base + '/app/' + name);
          }
        }
        finish();
      };`,
      async ({ begin, honest }) => {
        const received = await begin();
        expect(marked(CANARY, received)).toEqual([]);
        const large = resourceAnswers(received).filter(([operation, path, error]) => operation === 'read' && path.endsWith('huge.bin') && error === null);
        expect(large).toEqual([]);
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
      },
    ),
  );
});

/** Bytes that this process holds on to. */
function held(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const MB = 1024 * 1024;

describe('a hostile child that asks for much', () => {
  watchForLeaks();

  it.each([
    ['modules that are not there', `(at) => [frame(0, me, 100, 0, moduleRequest('require', id, './absent-' + at + '.cjs'))]`],
    ['modules by ID', `(at) => [frame(0, me, 100, 0, moduleRequest('id', '', 'file://' + base + '/app/absent-' + at + '.cjs'))]`],
    ['modules in the name of many', `(at) => [frame(0, me, 100, 0, moduleRequest('import', 'file://' + base + '/app/' + at + '/x.cjs', 'absent-' + at))]`],
    ['one module again and again', `(at) => [frame(0, me, 100, 0, moduleRequest('require', id, './late.cjs'))]`],
    ['files that are not there', `(at) => [frame(0, me, 112, 0, resourceRequest('stat', base + '/app/absent-' + at))]`],
    ['one file again and again', `(at) => [frame(0, me, 112, 0, resourceRequest('read', base + '/app/data.txt'))]`],
    ['a directory again and again', `(at) => [frame(0, me, 112, 0, resourceRequest('list', base + '/app'))]`],
  ])('(%s, 100,000 times) leaves its master and siblings at work, and takes no memory', (_what, request) =>
    spied(
      `others = () => {};
      work = (base, id) => {
        const one = ${request};
        // The answers are read meanwhile: it asks as fast as it is listened to.
        let at = 0;
        const more = () => {
          if (at >= 100000) { log('all was asked'); return; }
          const many = [];
          for (let each = 0; each < 1000; each++, at++) many.push(...one(at));
          out.write(Buffer.concat(many), more);
        };
        log('the attack is over');
        more();
      };`,
      async ({ begin, honest, hostile, master, logged }) => {
        const before = held();
        await begin();
        const asked: unknown[] = [];
        void logged(({ message }) => message === 'all was asked').then((record) => asked.push(record));
        hostile.closed.subscribe((closed) => asked.push(closed));
        while (asked.length === 0) expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        expect(asked).toEqual([expect.objectContaining({ message: 'all was asked' })]);
        expect(held() - before).toBeLessThan(150 * MB);
        expect(hostile.pendingBytes).toBeLessThan(16 * MB);
        // What it may ask for at once, and what may wait; the rest is refused unseen.
        expect(master.stats().get(hostile.id)?.loads).toBeLessThan(10);
      },
    )(),
  );

  /** An application with files that are large. */
  const LARGE: Files = {
    'app/package.json': '{"name":"app"}',
    'app/main.cjs': `exports.ping = () => 'pong';`,
    'app/large.bin': Buffer.alloc(16 * MB, 'large '),
    'app/large.cjs': `module.exports = 1; // ${'large '.repeat(350_000)}`,
    'app/random.bin': noise(16 * MB),
  };

  it(
    'for large files, and reads none of them, does not fill the memory of its master',
    spied(
      `work = (base) => {
        reader.pause();
        // First, because a master stops listening to one who does not read.
        log('the attack is over');
        for (let at = 0; at < 500; at++) askResource('read', base + '/app/' + (at % 2 ? 'large.bin' : 'random.bin'));
      };`,
      async ({ begin, hostile, honest }) => {
        await begin();
        while (hostile.pendingBytes < 8 * MB) expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        for (let turn = 0; turn < 200; turn++) expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        expect(hostile.pendingBytes).toBeLessThan(64 * MB);
      },
      {},
      LARGE,
    ),
  );

  it(
    'for one large module under ever new names does not fill the memory of its master',
    spied(
      `work = (base, id) => {
        for (let at = 0; at < 300; at++) {
          askModule('import', id, './large.cjs?' + at);
          askModule('import', id, './large.cjs#' + at);
          askModule('id', '', 'file://' + base + '/app/large.cjs?id=' + at);
        }
        finish();
      };`,
      async ({ begin, honest }) => {
        const before = held();
        const received = await begin();
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        expect(moduleAnswers(received).length).toBeGreaterThan(0);
        // 900 instances of 2 MB would be 1,800 MB.
        expect(held() - before).toBeLessThan(300 * MB);
      },
      {},
      LARGE,
    ),
  );

  it(
    'for modules that are data does not fill the memory of its master',
    spied(
      `work = (base, id) => {
        for (let at = 0; at < 1500; at++) askModule('import', id, 'data:text/javascript,' + at + '/*' + 'x'.repeat(3900) + '*/');
        for (let at = 0; at < 20; at++) askModule('import', id, 'data:text/javascript,' + at + '/*' + 'x'.repeat(2000000) + '*/');
        finish();
      };`,
      async ({ begin, honest }) => {
        const before = held();
        await begin();
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        expect(held() - before).toBeLessThan(100 * MB);
      },
      {},
      LARGE,
    ),
  );

  it('whose policy denies what it asks for is refused by the master, which does not trust it to refuse by itself', () =>
    withFiles({ ...AROUND, 'app/denied.cjs': `module.exports = '${CANARY}-denied';`, 'app/node_modules/denied/package.json': '{"name":"denied"}', 'app/node_modules/denied/index.js': `module.exports = '${CANARY}-denied-package';`, 'app/node_modules/denied/data.txt': `${CANARY}-denied-data`, 'app/main.cjs': `exports.ping = () => { require('denied'); require('./denied.cjs'); require('served'); };` }, async (base) => {
      await attacked(
        `${TOOLS}
        work = (base, id) => {
          for (const kind of ['require', 'import']) for (const from of [id, 'file://' + base + '/app/node_modules/served/index.cjs']) for (const specifier of ['denied', 'denied/index.js', './denied.cjs', './denied', base + '/app/denied.cjs', './node_modules/denied/index.js', './node_modules/denied', 'denied/', './lib/../denied.cjs', './denied.cjs?x', './%64enied.cjs']) askModule(kind, from, specifier);
          for (const name of ['denied.cjs', 'denied.cjs?x', 'node_modules/denied/index.js', '%64enied.cjs', 'lib/../denied.cjs']) askModule('id', '', 'file://' + base + '/app/' + name);
          for (const name of ['denied.cjs', 'node_modules/denied/index.js', 'node_modules/denied/data.txt', 'lib/../denied.cjs', 'node_modules/denied']) for (const operation of ['read', 'stat', 'list']) askResource(operation, base + '/app/' + name);
          finish();
        };`,
        async ({ hostile, done }, directory) => {
          remote(hostile, join(base, 'app/main.cjs'), 'ping', base).subscribe({ error: () => undefined });
          await done();
          const received = receivedIn(directory);
          expect(marked(CANARY, received)).toEqual([]);
          expect(marked(ALLOWED, received)).toEqual([`${ALLOWED}-served`]);
        },
        { modules: { deny: ['denied', join(base, 'app/denied.cjs')] } },
      )();
    }));
});

/** Bytes that do not compress. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, state = 11; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
