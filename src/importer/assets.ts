import type { Dirent } from 'node:fs';
import { join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ResourceAnswer, ResourceOperation, ResourceStat } from '../core/importer/records.ts';
import { dress, fs } from './builtins.ts';
import { Descriptors, opensForReading } from './descriptors.ts';
import { isVirtualPath, masterPath } from './ids.ts';
import type { Store } from './store.ts';

type AnyFunction = (...args: unknown[]) => unknown;
type Callback = (error: Error | null, ...values: unknown[]) => void;
type Entry = readonly [name: string, kind: 'file' | 'directory'];

/** A path of the master's; `slash` says that it ends in one, so that only a directory will do. */
interface Place {
  readonly path: string;
  readonly slash: boolean;
}

/** A call of `fs` in steps: what is asked of the master, and what is made of the answers. Works with and without waiting. */
type Steps = Generator<readonly [operation: ResourceOperation, path: string], unknown, ResourceAnswer>;
type Work = (place: Place, options: unknown) => Steps;

const TYPES = { file: fs.constants.S_IFREG, directory: fs.constants.S_IFDIR } as const;

const descriptors = new Descriptors();

/** One question: its answer's value, or the error that the call of `fs` throws. */
function* ask(operation: ResourceOperation, { path, slash }: Place, syscall: string): Generator<readonly [ResourceOperation, string], unknown, ResourceAnswer> {
  const [, , error, value] = yield [operation, masterPath(path)];
  if (error !== null) throw failure(error, syscall, path);
  if (slash && (operation === 'read' || (operation === 'stat' && (value as ResourceStat)[0] === 'file'))) throw failure('ENOTDIR', syscall, path);
  return value;
}

function* statOf(place: Place, options: unknown, syscall: string): Steps {
  try {
    return statsOf((yield* ask('stat', place, syscall)) as ResourceStat, options);
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT' && (options as { throwIfNoEntry?: boolean } | undefined)?.throwIfNoEntry === false) return undefined;
    throw error;
  }
}

function* listOf(place: Place, options: unknown): Steps {
  const found: { readonly entry: Entry; readonly parent: string }[] = [];
  const recursive = (options as { recursive?: boolean } | undefined)?.recursive === true;
  const work = [''];
  for (let below = work.shift(); below !== undefined; below = work.shift()) {
    const parent = join(place.path, below);
    const entries = (yield* ask('list', { ...place, path: parent }, 'scandir')) as Entry[];
    for (const [name, kind] of entries) {
      found.push({ entry: [join(below, name), kind], parent });
      if (recursive && kind === 'directory') work.push(join(below, name));
    }
  }
  if ((options as { withFileTypes?: boolean } | undefined)?.withFileTypes === true) return found.map(({ entry, parent }) => direntOf(entry, parent));
  return found.map(({ entry: [name] }) => encodedName(name, options));
}

function* openOf(place: Place, flags: unknown): Steps {
  if (!opensForReading(flags)) throw failure('EROFS', 'open', place.path);
  const bytes = (yield* ask('read', place, 'open')) as Uint8Array;
  return descriptors.open(bytes, yield* statOf(place, undefined, 'fstat'));
}

/** The calls that read, by the name that they have with a callback. */
const READS: Readonly<Record<string, Work>> = {
  *readFile(place, options) {
    const { signal, flag } = (options ?? {}) as { signal?: AbortSignal; flag?: unknown };
    signal?.throwIfAborted();
    if (!opensForReading(flag)) throw failure('EROFS', 'open', place.path);
    return encoded(Buffer.from((yield* ask('read', place, 'open')) as Uint8Array), options);
  },
  stat: (place, options) => statOf(place, options, 'stat'),
  lstat: (place, options) => statOf(place, options, 'lstat'),
  *access(place, mode) {
    yield* ask('stat', place, 'access');
    if (typeof mode === 'number' && (mode & fs.constants.W_OK) !== 0) throw failure('EROFS', 'access', place.path);
    return undefined;
  },
  *realpath(place, options) {
    yield* ask('stat', place, 'realpath');
    return encodedName(place.path, options);
  },
  readdir: listOf,
  open: openOf,
};

const WRITES = ['writeFile', 'appendFile', 'mkdir', 'mkdtemp', 'rm', 'rmdir', 'unlink', 'rename', 'truncate', 'chmod', 'chown', 'lchown', 'utimes', 'lutimes', 'symlink', 'link', 'copyFile', 'cp'];
/** Calls whose second path is the one that is written; the first may be read. */
const TO_SECOND = new Set(['rename', 'symlink', 'link', 'copyFile', 'cp']);

/**
 * Lets `fs` read the files that lie beside the master's modules, by asking the master: synchronously, with callbacks and
 * with promises. What a package may see is decided there. Nothing can be written. Namespaces of builtin modules hear of it
 * by `syncBuiltinESMExports`.
 */
export function serveFiles(store: Store): void {
  const table = fs as unknown as Record<string, AnyFunction>;
  const promises = fs.promises as unknown as Record<string, AnyFunction>;
  for (const [name, work] of Object.entries(READS)) {
    replace(table, `${name}Sync`, (place, [options]) => runNow(store, work(place, options)));
    if (name !== 'open') replace(promises, name, (place, [options]) => runLater(store, work(place, options)));
    replaceWithCallback(table, name, (place, args, callback) => {
      runLater(store, work(place, args.length > 0 ? args[0] : undefined)).then((value) => { settle(callback, null, value); }, (error: unknown) => { settle(callback, error as Error); });
    });
  }
  refuseWrites(table, promises);
  replace(promises, 'open', (place) => Promise.reject(failure('EACCES', 'open', place.path)));
  replace(table, 'existsSync', (place) => exists(() => runNow(store, statOf(place, undefined, 'stat'))));
  replaceWithCallback(table, 'exists', (place, _args, callback) => {
    runLater(store, statOf(place, undefined, 'stat')).then(() => true, () => false).then((there) => { process.nextTick(callback, there); }, () => undefined);
  });
  for (const name of ['realpath', 'realpathSync']) Object.assign(table[name] as object, { native: table[name] });
  const { createReadStream } = fs;
  replace(table, 'createReadStream', ({ path }, [options]) => {
    const given = typeof options === 'string' ? { encoding: options as BufferEncoding } : (options as object | undefined);
    // Its own events, ranges and errors, over our descriptors.
    return createReadStream(path, { ...given, fs: { open: table['open'], read: table['read'], close: table['close'] } } as never);
  });
  descriptors.serve(table);
}

function refuseWrites(table: Record<string, AnyFunction>, promises: Record<string, AnyFunction>): void {
  for (const name of WRITES) {
    const error = (path: string): Error => failure('EROFS', name, path);
    const target = TO_SECOND.has(name) ? 1 : 0;
    replace(table, `${name}Sync`, ({ path }) => { throw error(path); }, target);
    replace(promises, name, ({ path }) => Promise.reject(error(path)), target);
    replaceWithCallback(table, name, ({ path }, _args, callback) => { settle(callback, error(path)); }, target);
    if (target === 1 && name !== 'symlink') {
      // What is moved away is written too.
      const moves = name === 'rename' || name === 'link';
      if (!moves) continue;
      replace(table, `${name}Sync`, ({ path }) => { throw error(path); });
      replace(promises, name, ({ path }) => Promise.reject(error(path)));
      replaceWithCallback(table, name, ({ path }, _args, callback) => { settle(callback, error(path)); });
    }
  }
}

/** Puts `serve` in the place of a function, for paths of the master's at the argument `at`. */
function replace(table: Record<string, AnyFunction>, name: string, serve: (place: Place, args: unknown[]) => unknown, at = 0): void {
  const original = table[name];
  if (original === undefined) return;
  const replacement = function (this: unknown, ...args: unknown[]): unknown {
    const place = placeOf(args[at]);
    return place === undefined ? original.apply(this, args) : serve(place, args.slice(at + 1));
  };
  dress(replacement, original);
  table[name] = replacement;
}

function replaceWithCallback(table: Record<string, AnyFunction>, name: string, serve: (place: Place, args: unknown[], callback: Callback) => void, at = 0): void {
  const original = table[name];
  if (original === undefined) return;
  replace(table, name, (place, args) => {
    const callback = args.at(-1);
    // Its own complaint about what is no callback.
    if (typeof callback !== 'function') return original(place.path, ...args);
    serve(place, args.slice(0, -1), callback as Callback);
    return undefined;
  }, at);
}

/** The path, if it is one of the master's, however it is given. */
function placeOf(path: unknown): Place | undefined {
  let text: string;
  if (typeof path === 'string') text = path;
  else if (path instanceof URL) {
    if (path.protocol !== 'file:' || path.host !== '' || /%2f/i.test(path.pathname)) return undefined;
    text = fileURLToPath(path);
  } else if (Buffer.isBuffer(path)) text = path.toString();
  else return undefined;
  if (!isVirtualPath(text) || text.includes('\0')) return undefined;
  const normal = normalize(text);
  return isVirtualPath(normal) ? { path: normal.replace(/\/+$/, ''), slash: normal.endsWith('/') } : undefined;
}

function settle(callback: Callback, error: Error | null, value?: unknown): void {
  // What a callback throws is nobody's rejection.
  if (error) process.nextTick(callback, error);
  else process.nextTick(callback, null, value);
}

function runNow(store: Store, steps: Steps): unknown {
  let step = steps.next();
  while (step.done !== true) step = steps.next(store.resource(...step.value));
  return step.value;
}

async function runLater(store: Store, steps: Steps): Promise<unknown> {
  let step = steps.next();
  while (step.done !== true) {
    const [operation, path] = step.value;
    step = steps.next(await new Promise<ResourceAnswer>((resolve) => {
      store.resourceLater(operation, path, resolve);
    }));
  }
  return step.value;
}

function exists(look: () => unknown): boolean {
  try {
    look();
    return true;
  } catch {
    return false;
  }
}

const TEXTS: Readonly<Record<string, string>> = { ENOENT: 'no such file or directory', EISDIR: 'illegal operation on a directory', ENOTDIR: 'not a directory', EROFS: 'read-only file system', EFBIG: 'file too large', EACCES: 'permission denied', ENAMETOOLONG: 'name too long', EAGAIN: 'resource temporarily unavailable' };

/** As Node words what the operating system says. */
function failure(code: string, syscall: string, path: string): Error {
  const errno = (process.getBuiltinModule('node:os').constants.errno as Readonly<Record<string, number>>)[code];
  // Node reads a directory before it notices.
  const where = code === 'EISDIR' ? ', read' : `, ${syscall} '${path}'`;
  return Object.assign(new Error(`${code}: ${TEXTS[code] ?? 'not served by the master'}${where}`), { code, syscall: code === 'EISDIR' ? 'read' : syscall, ...(code !== 'EISDIR' && { path }), ...(errno !== undefined && { errno: -errno }) });
}

function encodingOf(options: unknown): BufferEncoding | 'buffer' | undefined {
  const encoding = typeof options === 'string' ? options : (options as { encoding?: string } | null | undefined)?.encoding;
  return encoding == null ? undefined : (encoding as BufferEncoding);
}

function encoded(bytes: Buffer, options: unknown): Buffer | string {
  const encoding = encodingOf(options);
  return encoding === undefined || encoding === 'buffer' ? bytes : bytes.toString(encoding);
}

function encodedName(name: string, options: unknown): Buffer | string {
  const encoding = encodingOf(options) ?? 'utf8';
  return encoding === 'buffer' ? Buffer.from(name) : Buffer.from(name).toString(encoding);
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

function direntOf([name, kind]: Entry, parent: string): unknown {
  // libuv's numbers, in the order of arguments that all these versions of Node have.
  const types = { file: 1, directory: 2 };
  const entry = new (fs.Dirent as unknown as new (name: string, type: number, path: string) => Dirent)(name.split('/').at(-1) ?? name, types[kind], parent);
  return Object.assign(entry, { parentPath: parent });
}
