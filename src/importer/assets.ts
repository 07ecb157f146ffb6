import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { normalize } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { constants } from 'node:os';
import type { ResourceAnswer, ResourceOperation, ResourceStat } from '../core/importer/records.ts';
import { isVirtualPath, masterPath } from './ids.ts';
import type { Store } from './store.ts';

type AnyFunction = (...args: unknown[]) => unknown;
type Callback = (error: Error | null, value?: unknown) => void;

/** What a call of `fs` asks of the master, and what it makes of the answer. */
interface Operation {
  readonly ask: ResourceOperation;
  result(value: unknown, path: string, options: unknown): unknown;
  /** What stands for an error; throws by default. */
  missing?(options: unknown): unknown;
}

const TYPES = { file: fs.constants.S_IFREG, directory: fs.constants.S_IFDIR } as const;

/** The calls that read, by the name that they have with a callback; files of the master cannot be written. */
const READ_FILE: Operation = { ask: 'read', result: (value, _path, options) => encoded(Buffer.from(value as Uint8Array), options) };
const READS: Readonly<Record<string, Operation>> = {
  readFile: READ_FILE,
  stat: { ask: 'stat', result: (value, _path, options) => statsOf(value as ResourceStat, options), missing: unlessThrow },
  lstat: { ask: 'stat', result: (value, _path, options) => statsOf(value as ResourceStat, options), missing: unlessThrow },
  access: { ask: 'stat', result: () => undefined },
  realpath: { ask: 'stat', result: (_value, path, options) => encoded(Buffer.from(path), options ?? 'utf8') },
  readdir: { ask: 'list', result: (value, path, options) => entries(value as [string, 'file' | 'directory'][], path, options) },
};

const WRITES = ['writeFile', 'appendFile', 'mkdir', 'mkdtemp', 'rm', 'rmdir', 'unlink', 'rename', 'truncate', 'chmod', 'chown', 'utimes', 'symlink', 'link'];

/**
 * Lets `fs` read the files that lie beside the master's modules, by asking the master: synchronously, with callbacks and
 * with promises. What a package may see is decided there.
 */
export function serveFiles(store: Store): void {
  const table = fs as unknown as Record<string, AnyFunction>;
  const promises = fs.promises as unknown as Record<string, AnyFunction>;
  for (const [name, operation] of Object.entries(READS)) {
    replace(table, `${name}Sync`, (path, [options]) => complete(operation, name, store.resource(operation.ask, masterPath(path)), path, options));
    replace(promises, name, (path, [options]) => later(store, operation, name, path, options));
    replace(table, name, (path, args) => {
      const callback = args.at(-1) as Callback;
      later(store, operation, name, path, args.length > 1 ? args[0] : undefined).then((value) => { settle(callback, null, value); }, (error: unknown) => { settle(callback, error as Error); });
      return undefined;
    });
  }
  for (const name of WRITES) {
    const refuse = (path: string): never => {
      throw failure('EROFS', name, path);
    };
    replace(table, `${name}Sync`, refuse);
    replace(promises, name, (path) => Promise.reject(failure('EROFS', name, path)));
    replace(table, name, (path, args) => {
      settle(args.at(-1) as Callback, failure('EROFS', name, path));
      return undefined;
    });
  }
  replace(table, 'existsSync', (path) => store.resource('stat', masterPath(path))[2] === null);
  replace(table, 'exists', (path, args) => {
    store.resourceLater('stat', masterPath(path), ([, , error]) => { process.nextTick(args.at(-1) as AnyFunction, error === null); });
    return undefined;
  });
  for (const name of ['realpath', 'realpathSync']) Object.assign(table[name] as object, { native: table[name] });
  replace(table, 'createReadStream', (path, [options]) => Readable.from(contents(store, path, options), { objectMode: false }));
  replace(table, 'openSync', (path) => { throw failure('EACCES', 'open', path); });
  replace(table, 'open', (path, args) => {
    settle(args.at(-1) as Callback, failure('EACCES', 'open', path));
    return undefined;
  });
  replace(promises, 'open', (path) => Promise.reject(failure('EACCES', 'open', path)));
  syncBuiltinESMExports();
}

/** Puts `serve` in the place of a function, for paths of the master's. */
function replace(table: Record<string, AnyFunction>, name: string, serve: (path: string, args: unknown[]) => unknown): void {
  const original = table[name];
  if (original === undefined) return;
  const replacement = function (this: unknown, path: unknown, ...args: unknown[]): unknown {
    const virtual = virtualOf(path);
    return virtual === undefined ? original.call(this, path, ...args) : serve(virtual, args);
  };
  // What else hangs there (util.promisify.custom, realpath.native) and the name are the original's.
  Object.defineProperties(replacement, Object.getOwnPropertyDescriptors(original));
  table[name] = replacement;
}

/** The path, if it is one of the master's, however it is given. */
function virtualOf(path: unknown): string | undefined {
  let text: string;
  if (typeof path === 'string') text = path;
  else if (path instanceof URL) {
    if (path.protocol !== 'file:') return undefined;
    text = fileURLToPath(path);
  } else if (Buffer.isBuffer(path)) text = path.toString();
  else return undefined;
  if (!isVirtualPath(text)) return undefined;
  const normal = normalize(text);
  return isVirtualPath(normal) ? normal : undefined;
}

function settle(callback: Callback, error: Error | null, value?: unknown): void {
  // What a callback throws is nobody's rejection.
  process.nextTick(callback, error, value);
}

async function later(store: Store, operation: Operation, name: string, path: string, options: unknown): Promise<unknown> {
  const answer = await new Promise<ResourceAnswer>((resolve) => {
    store.resourceLater(operation.ask, masterPath(path), resolve);
  });
  return complete(operation, name, answer, path, options);
}

function complete(operation: Operation, name: string, [, , error, value]: ResourceAnswer, path: string, options: unknown): unknown {
  if (error === null) return operation.result(value, path, options);
  const instead = error === 'ENOENT' ? operation.missing?.(options) : undefined;
  if (instead === MISSING) return undefined;
  throw failure(error, name === 'readFile' ? 'open' : name === 'readdir' ? 'scandir' : name, path);
}

const MISSING = Symbol('missing');

function unlessThrow(options: unknown): unknown {
  return (options as { throwIfNoEntry?: boolean } | undefined)?.throwIfNoEntry === false ? MISSING : undefined;
}

/** As Node words what the operating system says. */
function failure(code: string, syscall: string, path: string): Error {
  const texts: Readonly<Record<string, string>> = { ENOENT: 'no such file or directory', EISDIR: 'illegal operation on a directory', ENOTDIR: 'not a directory', EROFS: 'read-only file system', EFBIG: 'file too large', EACCES: 'permission denied' };
  const errno = (constants.errno as Readonly<Record<string, number>>)[code];
  return Object.assign(new Error(`${code}: ${texts[code] ?? 'not served by the master'}, ${syscall} '${path}'`), { code, syscall, path, ...(errno !== undefined && { errno: -errno }) });
}

function encodingOf(options: unknown): BufferEncoding | undefined {
  const encoding = typeof options === 'string' ? options : (options as { encoding?: string } | null | undefined)?.encoding;
  return encoding == null || encoding === 'buffer' ? undefined : (encoding as BufferEncoding);
}

function encoded(bytes: Buffer, options: unknown): Buffer | string {
  const encoding = encodingOf(options);
  return encoding === undefined ? bytes : bytes.toString(encoding);
}

function statsOf([kind, size, mtimeMs, mode]: ResourceStat, options: unknown): unknown {
  const big = (options as { bigint?: boolean } | undefined)?.bigint === true;
  const number = (value: number): unknown => (big ? BigInt(Math.trunc(value)) : value);
  const time = new Date(mtimeMs);
  return Object.assign(Object.create((fs.Stats as unknown as { prototype: object }).prototype) as object, {
    dev: number(0), ino: number(0), nlink: number(1), uid: number(0), gid: number(0), rdev: number(0), blksize: number(4096), blocks: number(Math.ceil(size / 512)),
    size: number(size), mode: number((mode & 0o555) | TYPES[kind]), atimeMs: number(mtimeMs), mtimeMs: number(mtimeMs), ctimeMs: number(mtimeMs), birthtimeMs: number(mtimeMs),
    atime: time, mtime: time, ctime: time, birthtime: time,
    isFile: () => kind === 'file', isDirectory: () => kind === 'directory',
  });
}

function entries(list: [string, 'file' | 'directory'][], path: string, options: unknown): unknown {
  if ((options as { withFileTypes?: boolean } | undefined)?.withFileTypes !== true) return list.map(([name]) => encoded(Buffer.from(name), options ?? 'utf8'));
  return list.map(([name, kind]) => ({
    name, parentPath: path, path,
    isFile: () => kind === 'file', isDirectory: () => kind === 'directory',
    isSymbolicLink: () => false, isFIFO: () => false, isSocket: () => false, isBlockDevice: () => false, isCharacterDevice: () => false,
  }));
}

async function* contents(store: Store, path: string, options: unknown): AsyncGenerator<Buffer | string> {
  const whole = (await later(store, READ_FILE, 'readFile', path, undefined)) as Buffer;
  const { start = 0, end = whole.length, highWaterMark = 64 * 1024 } = (typeof options === 'object' && options !== null ? options : {}) as { start?: number; end?: number; highWaterMark?: number };
  const part = whole.subarray(start, end + 1);
  for (let at = 0; at < part.length; at += highWaterMark) yield encoded(part.subarray(at, at + highWaterMark), options);
}
