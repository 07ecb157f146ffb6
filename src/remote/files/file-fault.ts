import { errnoOf, fault } from '../fault.ts';

/** Codes for what the operating system says; what is not here is `ERR_TENDRIL_FILE_IO`. */
const CODES: Readonly<Record<string, readonly [code: string, text: string]>> = {
  ENOENT: ['ERR_TENDRIL_FILE_MISSING', 'there is no such file or directory'],
  ENOTDIR: ['ERR_TENDRIL_FILE_MISSING', 'something on the way to it is no directory'],
  EACCES: ['ERR_TENDRIL_FILE_PERMISSION', 'this account may not do that'],
  EPERM: ['ERR_TENDRIL_FILE_PERMISSION', 'this account may not do that'],
  EROFS: ['ERR_TENDRIL_FILE_PERMISSION', 'the file system is read-only'],
  ENOSPC: ['ERR_TENDRIL_FILE_NO_SPACE', 'the file system is full'],
  EDQUOT: ['ERR_TENDRIL_FILE_NO_SPACE', 'the quota of this account is used up'],
  EFBIG: ['ERR_TENDRIL_FILE_TOO_LARGE', 'a file may not become that large there'],
  EISDIR: ['ERR_TENDRIL_FILE_IS_DIRECTORY', 'it is a directory'],
  ENOTEMPTY: ['ERR_TENDRIL_FILE_IS_DIRECTORY', 'it is a directory'],
  EEXIST: ['ERR_TENDRIL_FILE_EXISTS', 'it is there already'],
  ELOOP: ['ERR_TENDRIL_FILE_SYMLINK', 'it is a symbolic link, or its links go in a circle'],
};

/** An error of the operating system as one of ours; errors of ours stay what they are. */
export function fileFault(error: unknown, path: string): Error {
  const errno = errnoOf(error);
  if (errno.startsWith('ERR_TENDRIL_')) return error as Error;
  const [code, text] = CODES[errno] ?? ['ERR_TENDRIL_FILE_IO', error instanceof Error ? error.message : String(error)];
  return fault(code, `${path}: ${text}${errno === '' ? '' : ` (${errno})`}`, error);
}
