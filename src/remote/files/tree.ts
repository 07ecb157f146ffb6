import { randomBytes } from 'node:crypto';
import { lstat, mkdir, chmod, chown, readdir, readlink, rename, stat, symlink, unlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fault } from '../fault.ts';
import { fileFault } from './file-fault.ts';
import type { FileAttributes, TreeEntry } from './protocol.ts';
import { infoOf } from './source.ts';

/** Entries of one message. */
const ENTRIES = 128;
/** Directories within one another. */
const MAX_DEPTH = 200;

/**
 * What is in a directory, in all depths: a directory before what is in it.
 *
 * @param follow - whether symbolic links are what they lead to
 */
export async function* listTree(root: string, follow: boolean): AsyncGenerator<readonly TreeEntry[], undefined> {
  let batch: TreeEntry[] = [{ type: 'directory', path: '', info: infoOf(await attempt(root, () => stat(root, { bigint: true }))) }];
  for await (const entry of walk(root, '', follow, 0)) {
    batch.push(entry);
    if (batch.length < ENTRIES) continue;
    yield batch;
    batch = [];
  }
  yield batch;
}

async function* walk(root: string, directory: string, follow: boolean, depth: number): AsyncGenerator<TreeEntry, undefined> {
  const here = join(root, directory);
  if (depth > MAX_DEPTH) throw fault('ERR_TENDRIL_FILE_IO', `${here}: directories are more than ${String(MAX_DEPTH)} deep, or links lead in a circle`);
  for (const name of (await attempt(here, () => readdir(here))).sort()) {
    const path = directory === '' ? name : `${directory}/${name}`;
    const full = join(here, name);
    const stats = await attempt(full, () => (follow ? stat : lstat)(full, { bigint: true }));
    if (stats.isSymbolicLink()) yield { type: 'symlink', path, target: await attempt(full, () => readlink(full)) };
    else if (stats.isFile()) yield { type: 'file', path, info: infoOf(stats) };
    else if (stats.isDirectory()) {
      yield { type: 'directory', path, info: infoOf(stats) };
      yield* walk(root, path, follow, depth + 1);
    } else yield { type: 'other', path };
  }
}

/** Whether a path is a directory. */
export async function isDirectory(path: string): Promise<boolean> {
  return (await attempt(path, () => stat(path))).isDirectory();
}

/**
 * Makes directories, `root` and those below it, in this order. One that is there stays as it is; what is there and is
 * none, a symbolic link to one among it, is an error. Returns those that are new.
 */
export async function makeDirectories(root: string, paths: readonly string[]): Promise<string[]> {
  const made: string[] = [];
  if ((await attempt(root, () => mkdir(root, { recursive: true }))) !== undefined) made.push('');
  for (const path of paths) {
    const full = join(root, path);
    await attempt(full, async () => {
      try {
        // Ours alone, so that what is to be written into it can be; it gets its mode last.
        await mkdir(full, 0o700);
        made.push(path);
      } catch (error) {
        if (!(await lstat(full)).isDirectory()) throw error;
      }
    });
  }
  return made;
}

/** Makes symbolic links in the place of files or links of these names. */
export async function makeLinks(root: string, links: readonly (readonly [path: string, target: string])[]): Promise<void> {
  for (const [path, target] of links) {
    const full = join(root, path);
    const temporary = join(dirname(full), `.${randomBytes(9).toString('hex')}.link`);
    await attempt(full, async () => {
      await symlink(target, temporary);
      await rename(temporary, full).catch(async (error: unknown) => {
        await unlink(temporary);
        throw error;
      });
    });
  }
}

/** Gives directories their attributes: when all is in them, the deepest first. */
export async function setDirectories(root: string, directories: readonly (readonly [path: string, attributes: FileAttributes])[]): Promise<void> {
  for (const [path, { mode, uid, gid, mtimeMs, atimeMs }] of directories) {
    const full = join(root, path);
    await attempt(full, async () => {
      if (uid !== undefined || gid !== undefined) await chown(full, uid ?? -1, gid ?? -1);
      await chmod(full, mode);
      if (mtimeMs !== undefined) await utimes(full, (atimeMs ?? mtimeMs) / 1000, mtimeMs / 1000);
    });
  }
}

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileFault(error, path);
  }
}
