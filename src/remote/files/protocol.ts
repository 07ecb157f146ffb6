import type { ChecksumKind } from './checksum.ts';

/** What a file is beside its bytes. Times are milliseconds since the epoch. */
export interface FileInfo {
  /** Bytes; Infinity where that is not known before the end. */
  readonly size: number;
  /** Permission bits, such as 0o644. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeMs: number;
  readonly atimeMs: number;
}

/** Before the bytes of a file: what it is, and from where on they come. */
export interface FileHead extends FileInfo {
  readonly offset: number;
}

/** Behind them: the checksum of the whole file, in hexadecimal digits. */
export interface FileTail {
  readonly checksum: string;
}

/** What a file is sent as. */
export type FileItem = FileHead | Uint8Array | FileTail;

/** A part of a file that is there already. */
export interface FilePart {
  readonly bytes: number;
  readonly checksum: string;
}

/** What a file is to have beside its bytes; what is undefined is what a new file of this process has. */
export interface FileAttributes {
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeMs?: number;
  readonly atimeMs?: number;
}

/** How a file is to be written. */
export interface WriteSpec {
  readonly path: string;
  /** In the name of the temporary file. */
  readonly id: string;
  readonly attributes: FileAttributes;
  /** Whether a file that is there may be replaced. */
  readonly overwrite: boolean;
  /** Whether it is on the disk before it is reported to be there. */
  readonly sync: boolean;
  /** Whether directories that are missing are made. */
  readonly parents: boolean;
  readonly checksum: ChecksumKind;
  /** Bytes that it may have. */
  readonly maxBytes: number;
  /** Whether what has come stays when the connection is lost, to be gone on with. */
  readonly resumable: boolean;
}

/** What the writing end tells: what it has already, how large the file is, how far it is, that the file is there. */
export type WriteEvent = readonly ['part', FilePart] | readonly ['head', bytes: number] | readonly ['at', bytes: number] | readonly ['done', checksum: string, bytes: number];

/** Something in a directory, by its path from there, with slashes. */
export type TreeEntry =
  | { readonly type: 'file'; readonly path: string; readonly info: FileInfo }
  | { readonly type: 'directory'; readonly path: string; readonly info: FileInfo }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string }
  | { readonly type: 'other'; readonly path: string };
