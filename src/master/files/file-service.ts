import { lstat, readFile, realpath } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';
import { dirname, isAbsolute, resolve, sep } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import { fault } from '../../remote/fault.ts';
import { FileSource } from '../../remote/files/source.ts';
import type { FileInfo } from '../../remote/files/protocol.ts';

/** What a context learns of a file of the master. Names are empty where the machine has none for the number. */
export interface RegisteredFileInfo extends FileInfo {
  readonly owner: string;
  readonly group: string;
}

/** How many files are read at a time for all callers, and how many calls wait. */
const LIMITS = { concurrency: 16, queue: 1000 } as const;

/**
 * A service for files of this process that code in other contexts may read (Mitogen's FileService, REFERENCE 1.2): those
 * that are registered, and no others.
 *
 *     const files = new FileService();
 *     files.registerPrefix('/srv/releases');
 *     master.serve(files, { name: 'files' });
 *
 * In a child: `parent.service('files').read('/srv/releases/app.tar')`, a stream of bytes with flow control.
 */
export class FileService {
  /** Who may call what (docs/services.md): anyone, because what can be read is registered. */
  static readonly methods = {
    stat: { policy: () => true, check: isPath, ...LIMITS },
    read: { policy: () => true, check: isPath, ...LIMITS },
  } as const;
  readonly #paths = new Set<string>();
  readonly #prefixes = new Set<string>();

  /** Lets a file be read, by this very path. A symbolic link may lead it anywhere. */
  register(path: string): void {
    this.#paths.add(checked(path));
  }

  /** Lets all files of a directory be read, in all depths; what a symbolic link in it leads out of it is not. */
  registerPrefix(path: string): void {
    this.#prefixes.add(checked(path));
  }

  /** Takes back what was registered by this path, as a file or as a directory. What is under way goes on. */
  unregister(path: string): void {
    this.#paths.delete(checked(path));
    this.#prefixes.delete(checked(path));
  }

  /** What a file is. */
  async stat(path: string): Promise<RegisteredFileInfo> {
    const source = await this.#open(path);
    await source.close();
    const { info } = source;
    return { ...info, owner: await nameOf('/etc/passwd', info.uid), group: await nameOf('/etc/group', info.gid) };
  }

  /** The bytes of a file. Fails with ERR_TENDRIL_FILE_CHANGED when the file is changed meanwhile. */
  async *read(path: string): AsyncGenerator<Uint8Array, undefined> {
    const source = await this.#open(path);
    for await (const item of source.items('crc32')) if (item instanceof Uint8Array) yield item;
  }

  /** Opens a file for another context. Throws ERR_TENDRIL_FILE_REFUSED for what is not registered, whether it is there or not. */
  async #open(path: string): Promise<FileSource> {
    if (this.#paths.has(path)) return FileSource.open(path);
    const prefixes = [...this.#prefixes].filter((prefix) => isWithin(path, prefix));
    // Other spellings of a path are none that were registered.
    if (prefixes.length === 0 || resolve(path) !== path) throw refused(path);
    const admit = async (stats: BigIntStats): Promise<void> => {
      if (!(await leadsInside(path, stats, prefixes))) throw refused(path);
    };
    try {
      return await FileSource.open(path, true, admit);
    } catch (error) {
      // What is not there is told only of places that are registered.
      throw (await isInside(dirname(path), prefixes)) ? error : refused(path);
    }
  }
}

/**
 * Whether the file that is open lies in one of the directories. Looked at behind the opening, and by the file itself: what
 * is put in its place meanwhile is another file.
 */
async function leadsInside(path: string, { dev, ino }: BigIntStats, prefixes: readonly string[]): Promise<boolean> {
  try {
    const real = await realpath(path);
    const there = await lstat(real, { bigint: true });
    return (await isInside(real, prefixes)) && there.dev === dev && there.ino === ino;
  } catch {
    return false;
  }
}

/** Whether a path really leads into, or to, one of the directories. */
async function isInside(path: string, prefixes: readonly string[]): Promise<boolean> {
  const real = await realpath(path).catch(() => '');
  const roots = await Promise.all(prefixes.map((prefix) => realpath(prefix).catch(() => undefined)));
  return roots.some((root) => root !== undefined && (real === root || isWithin(real, root)));
}

function refused(path: string): Error {
  return fault('ERR_TENDRIL_FILE_REFUSED', `${path} is not registered for other contexts; the master may register() it, or a directory above it by registerPrefix()`);
}

function isPath(path: unknown): boolean {
  return typeof path === 'string' && path.length <= 4096 && isAbsolute(path) && !path.includes('\0');
}

function checked(path: string): string {
  if (typeof (path as unknown) !== 'string' || path.includes('\0')) throw new UsageError('ERR_TENDRIL_BAD_OPTION', 'a path to be registered must be a text');
  return isAbsolute(path) ? resolve(path) : resolve(process.cwd(), path);
}

function isWithin(path: string, directory: string): boolean {
  return path.startsWith(directory.endsWith(sep) ? directory : directory + sep);
}

/** The name of an account or a group, by its number. */
async function nameOf(file: string, id: number): Promise<string> {
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
  return lines.map((line) => line.split(':')).find(([, , number]) => number === String(id))?.[0] ?? '';
}
