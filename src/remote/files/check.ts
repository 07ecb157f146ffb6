import { fault } from '../fault.ts';
import { isChecksum } from './checksum.ts';
import type { FileHead, FileInfo, FileItem, WriteSpec } from './protocol.ts';

/** Checks what comes on a stream of a file: it may be from someone who is not to be trusted. */
export function checkItem(item: unknown, { path, maxBytes, checksum: kind }: WriteSpec, head: FileHead | undefined, received: number): FileItem {
  if (item instanceof Uint8Array) {
    if (head === undefined || received + item.length > head.size) throw fault('ERR_TENDRIL_FILE_CHECKSUM', `${path}: more bytes came than were said to come`);
    if (received + item.length > maxBytes) throw tooLarge(path, maxBytes);
    return item;
  }
  if (head !== undefined) {
    const { checksum } = (item ?? {}) as { checksum?: unknown };
    if (!isChecksum(checksum, kind)) throw notValid(path);
    if (head.size !== Infinity && received !== head.size) throw fault('ERR_TENDRIL_FILE_CHECKSUM', `${path}: fewer bytes came than were said to come`);
    return { checksum };
  }
  if (!isInfo(item) || !isCount((item as FileHead).offset)) throw notValid(path);
  if (item.size > maxBytes && item.size !== Infinity) throw tooLarge(path, maxBytes);
  return item as FileHead;
}

export function isInfo(value: unknown): value is FileInfo {
  const { size, mode, uid, gid, mtimeMs, atimeMs } = (value ?? {}) as Partial<Record<keyof FileInfo, unknown>>;
  return (isCount(size) || size === Infinity) && isCount(mode) && mode <= 0o7777 && isCount(uid) && isCount(gid) && Number.isFinite(mtimeMs) && Number.isFinite(atimeMs);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function notValid(path: string): Error {
  return fault('ERR_TENDRIL_FILE_CHECKSUM', `${path}: what came is no file`);
}

function tooLarge(path: string, maxBytes: number): Error {
  return fault('ERR_TENDRIL_FILE_TOO_LARGE', `${path}: it has more than the ${String(maxBytes)} bytes that the option maxBytes admits`);
}
