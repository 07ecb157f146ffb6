import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResourceAnswer, ResourceRequest } from '../../core/importer/records.ts';
import { isInside, realPath } from './packages.ts';
import type { Package } from './packages.ts';

/** Bytes of a file that is read beside a module. */
export const MAX_RESOURCE_BYTES: number = 64 * 1024 * 1024;
/** Entries of a directory that are listed. */
const MAX_ENTRIES = 10_000;

/**
 * Answers a request for a file beside a module: of the given packages only, and the same "no such file" for what is not
 * there and for what is outside. Never throws.
 *
 * @param limit - bytes that an answer may have
 */
export async function readResource([operation, path]: ResourceRequest, packages: Iterable<Package>, limit: number): Promise<ResourceAnswer> {
  const answer = (error: string | null, value: unknown = null): ResourceAnswer => [operation, path, error, value];
  const real = realPath(path);
  if (real === undefined || ![...packages].some((one) => isInside(one, real))) return answer('ENOENT');
  try {
    const stats = await stat(real);
    // Devices and pipes are not files beside a module, and opening them may take for ever.
    if (!stats.isFile() && !stats.isDirectory()) return answer('ENOENT');
    const kind = stats.isFile() ? 'file' : 'directory';
    if (operation === 'stat') return answer(null, [kind, stats.size, stats.mtimeMs, stats.mode & 0o777]);
    if (operation === 'list') return kind === 'file' ? answer('ENOTDIR') : answer(null, await list(real));
    if (kind === 'directory') return answer('EISDIR');
    if (stats.size > Math.min(limit, MAX_RESOURCE_BYTES)) return answer('EFBIG');
    return answer(null, await read(real, stats.size));
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    return answer(typeof code === 'string' ? code : 'EIO');
  }
}

/** No more than was measured, if the file grows meanwhile. */
async function read(path: string, size: number): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.allocUnsafeSlow(size);
    let at = 0;
    while (at < size) {
      const { bytesRead } = await file.read(bytes, at, size - at, at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    await file.close();
  }
}

/** Hidden names and nested packages are nobody's assets, so they are not listed either. */
async function list(path: string): Promise<[string, 'file' | 'directory'][]> {
  const entries = await readdir(path, { withFileTypes: true });
  const listed: [string, 'file' | 'directory'][] = [];
  for (const entry of entries) {
    if (entry.name.startsWith('.') || entry.name === 'node_modules' || listed.length >= MAX_ENTRIES) continue;
    const directory = entry.isDirectory() || (entry.isSymbolicLink() && (await isDirectory(join(path, entry.name))));
    if (directory || entry.isFile() || entry.isSymbolicLink()) listed.push([entry.name, directory ? 'directory' : 'file']);
  }
  return listed;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
