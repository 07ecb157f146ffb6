import { lstatSync, mkdirSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import { AttachError } from './attach-error.ts';

/** Bytes of the path of a socket: what the smallest operating system has room for (108 with the end, 104 on macOS). */
const MAX_PATH = 103;
const NAME = /^[A-Za-z0-9][\w.-]{0,63}$/;

/** The path of a socket with this name in the directory of this account. */
export function pathOfName(name: string): string {
  if (!NAME.test(name)) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `${JSON.stringify(name)} is not a name for a socket: use up to 64 letters, digits, '.', '_' and '-', or give a path`);
  const runtime = process.env['XDG_RUNTIME_DIR'];
  // It may be that of another account, behind `su` for instance.
  const base = runtime !== undefined && isAbsolute(runtime) && lstatOf(runtime)?.uid === process.geteuid?.() ? runtime : tmpdir();
  return join(base, `tendril-${String(process.geteuid?.() ?? 0)}`, name);
}

/** Checks a path that was given. */
export function checkPath(path: string): string {
  if (!isAbsolute(path) || path.includes('\0')) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the path of a socket must be absolute, got ${JSON.stringify(path)}`);
  if (Buffer.byteLength(path) > MAX_PATH) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the path of a socket may have ${String(MAX_PATH)} bytes, and ${path} has ${String(Buffer.byteLength(path))}; use a shorter one`);
  return path;
}

/** Makes the directory of a socket if it is not there, and checks it. */
export function claimDirectory(path: string): void {
  try {
    mkdirSync(dirname(path), { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new AttachError('ERR_TENDRIL_SOCKET', `cannot make the directory of ${path}: ${(error as Error).message}`, { cause: error });
  }
  checkDirectory(path);
}

/**
 * Checks that nobody else can get at what is in the directory of a socket: Node cannot ask who is at the other end of one, so
 * that the directory is all the protection that there is.
 */
export function checkDirectory(path: string): void {
  const directory = dirname(path);
  const found = lstatOf(directory);
  if (found === undefined) throw new AttachError('ERR_TENDRIL_SOCKET_MISSING', `there is no ${path}: nobody listens there`);
  const fault = faultOf(found);
  if (fault !== undefined) throw new AttachError('ERR_TENDRIL_SOCKET_UNSAFE', `the directory ${directory} is not safe for a socket: ${fault}; it must be a directory of this account, with the mode 0700`);
}

function faultOf(found: Stats): string | undefined {
  if (found.isSymbolicLink()) return 'it is a symbolic link';
  if (!found.isDirectory()) return 'it is no directory';
  if (found.uid !== process.geteuid?.()) return `it belongs to the account ${String(found.uid)}`;
  return (found.mode & 0o777) === 0o700 ? undefined : `its mode is 0${(found.mode & 0o777).toString(8)}`;
}

function lstatOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
