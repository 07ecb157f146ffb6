import { isAbsolute } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import { checkNames } from '../option-names.ts';
import type { FileAttributes, FileInfo } from '../../remote/files/protocol.ts';

/** What a written file is to be like. */
export interface WriteOptions {
  /** Permission bits, such as 0o644. Default: those of the file that is sent, without set-user-ID and the like; 0o644 for `write()`. */
  readonly mode?: number;
  /** Owner and group, by numbers: `keep` for those of the file that is sent. Default: those of the process that writes. */
  readonly owner?: 'keep' | { readonly uid?: number; readonly gid?: number };
  /** Whether a file that is there may be replaced; a symbolic link is replaced, not followed. Default true. */
  readonly overwrite?: boolean;
  /** Whether directories that are missing on the way are made. Default false. */
  readonly parents?: boolean;
  /**
   * How what has arrived is compared with what was sent: `crc32` finds what goes wrong by accident, for little; `sha256`
   * costs as much as all the rest of a transfer, and can be compared with digests from elsewhere. Default `crc32`.
   */
  readonly checksum?: 'crc32' | 'sha256';
  /** Whether the file is on the disk (fsync) before it has its name. Default false. */
  readonly sync?: boolean;
}

/** Options of a transfer. */
export interface TransferOptions extends WriteOptions {
  /** Whether the time of modification is kept. Default false. */
  readonly keepTimes?: boolean;
  /** What becomes of symbolic links in a directory: kept as they are, an error, or what they lead to. Default `keep`. */
  readonly symlinks?: 'keep' | 'refuse' | 'follow';
  /** Large files of a directory that are under way at a time; of small ones 64 are. Default 4. */
  readonly concurrency?: number;
  /** Bytes that each file may have. Default: no limit. */
  readonly maxBytes?: number;
  /** Aborting it ends the transfer with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** How far a transfer is. */
export interface TransferProgress {
  /** Bytes that are written. */
  readonly bytes: number;
  /** Bytes to be written; undefined while that is not known. */
  readonly totalBytes: number | undefined;
  /** Files that are complete. */
  readonly files: number;
  readonly totalFiles: number;
  /** What was left out because it is neither a file nor a directory nor a symbolic link: sockets, devices, named pipes. */
  readonly skipped: readonly string[];
  /** Whether this is the last one: all is there, and has its name. */
  readonly done: boolean;
  /** The checksum of the file, in hexadecimal digits, when it is there; of one file only. */
  readonly checksum: string | undefined;
}

/** Files that are read whole and sent in one message. */
export const LARGE_CONCURRENCY = 4;
export const SMALL_CONCURRENCY = 64;

/** What a file gets of what the sent one has. */
export function attributesOf(info: FileInfo, { mode, owner, keepTimes = false }: TransferOptions): FileAttributes {
  const { uid, gid } = owner === 'keep' ? info : { uid: undefined, gid: undefined, ...owner };
  return {
    mode: mode ?? info.mode & 0o777,
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(keepTimes && { mtimeMs: info.mtimeMs, atimeMs: info.atimeMs }),
  };
}

/** A directory must be one that its owner can go into. */
export function directoryAttributes(info: FileInfo, options: TransferOptions): FileAttributes {
  return attributesOf(info, { ...options, mode: info.mode & 0o777 });
}

/** Exactly those of {@link WriteOptions}, and of {@link TransferOptions} (test/types.check.ts). */
export const WRITE_OPTIONS = ['mode', 'owner', 'overwrite', 'parents', 'checksum', 'sync'] as const satisfies readonly (keyof WriteOptions)[];
export const TRANSFER_OPTIONS = [...WRITE_OPTIONS, 'keepTimes', 'symlinks', 'concurrency', 'maxBytes', 'signal'] as const satisfies readonly (keyof TransferOptions)[];

/** Throws a UsageError for what cannot work. */
export function checkTransfer(method: string, remote: unknown, options: TransferOptions): void {
  checkNames(`${method}()`, options, method === 'write' ? WRITE_OPTIONS : TRANSFER_OPTIONS);
  const { mode, owner, concurrency, maxBytes, symlinks, checksum } = options;
  const refuse = (why: string): never => {
    throw new UsageError('ERR_TENDRIL_BAD_OPTION', `${method}(): ${why}`);
  };
  if (typeof remote !== 'string' || !isAbsolute(remote) || remote.includes('\0')) refuse(`the path in the context must be an absolute one, got ${String(remote)}`);
  if (mode !== undefined && !(Number.isInteger(mode) && mode >= 0 && mode <= 0o7777)) refuse('the option mode must be permission bits, such as 0o644');
  for (const id of typeof owner === 'object' ? [owner.uid, owner.gid] : []) if (id !== undefined && !(Number.isInteger(id) && id >= 0)) refuse('the option owner must have numbers');
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency >= 1)) refuse('the option concurrency must be a whole number from 1 on');
  if (maxBytes !== undefined && !(maxBytes >= 0)) refuse('the option maxBytes must be a number of bytes');
  if (checksum !== undefined && !['crc32', 'sha256'].includes(checksum)) refuse('the option checksum must be crc32 or sha256');
  if (symlinks !== undefined && !['keep', 'refuse', 'follow'].includes(symlinks)) refuse('the option symlinks must be keep, refuse or follow');
}
