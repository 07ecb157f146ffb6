import { TendrilError } from '../../core/errors.ts';

/** A file could not be read or written, here or in another context; the message says where, and which. */
export class FileError extends TendrilError {
  static override readonly brand: string = 'FileError';
}

const CODES: ReadonlySet<string> = new Set([
  'ERR_TENDRIL_FILE_MISSING',
  'ERR_TENDRIL_FILE_PERMISSION',
  'ERR_TENDRIL_FILE_NO_SPACE',
  'ERR_TENDRIL_FILE_TOO_LARGE',
  'ERR_TENDRIL_FILE_IS_DIRECTORY',
  'ERR_TENDRIL_FILE_EXISTS',
  'ERR_TENDRIL_FILE_SYMLINK',
  'ERR_TENDRIL_FILE_KIND',
  'ERR_TENDRIL_FILE_CHANGED',
  'ERR_TENDRIL_FILE_CHECKSUM',
  'ERR_TENDRIL_FILE_REFUSED',
  'ERR_TENDRIL_FILE_IO',
]);

/**
 * What src/remote/files throws, as an error of this class; other errors as they are.
 *
 * @param where - the context in whose files it happened
 */
export function fileError(error: unknown, where: string): unknown {
  if (error instanceof FileError) return error;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return typeof code === 'string' && CODES.has(code) ? new FileError(code, `${where}: ${String(message)}`, { cause: error }) : error;
}
