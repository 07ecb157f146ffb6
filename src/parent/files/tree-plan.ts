import { sep } from 'node:path';
import { isInfo } from '../../remote/files/check.ts';
import type { FileAttributes, FileInfo, TreeEntry } from '../../remote/files/protocol.ts';
import { CHUNK_BYTES } from '../../remote/chunks.ts';
import { FileError } from './file-error.ts';
import { directoryAttributes } from './file-options.ts';
import type { TransferOptions } from './file-options.ts';

/** Entries of a directory that is transferred as a whole, in all depths. */
export const MAX_TREE_ENTRIES = 1_000_000;

/** A file of a directory, by its path from there. */
export interface TreeFile {
  readonly path: string;
  readonly size: number;
}

/** What is to be done for a directory, from the list of what is in it. The list may be from someone who is not to be trusted. */
export class TreePlan {
  readonly directories: string[] = [];
  readonly attributes: (readonly [path: string, attributes: FileAttributes])[] = [];
  readonly links: (readonly [path: string, target: string])[] = [];
  readonly small: TreeFile[] = [];
  readonly large: TreeFile[] = [];
  readonly skipped: string[] = [];
  bytes = 0;
  readonly #where: string;
  readonly #options: TransferOptions;
  readonly #kinds = new Map<string, TreeEntry['type']>();

  constructor(where: string, options: TransferOptions) {
    this.#where = where;
    this.#options = options;
  }

  /** Takes a batch of the list. Throws when it cannot be one of a directory, or is not to be transferred. */
  add(entries: unknown): void {
    if (!Array.isArray(entries)) throw this.#notValid('the list');
    for (const entry of entries as unknown[]) this.#add(entry as Partial<TreeEntry> | null | undefined);
  }

  get files(): number {
    return this.small.length + this.large.length;
  }

  #add(given: Partial<TreeEntry> | null | undefined): void {
    const entry = given as TreeEntry | null | undefined;
    const { path, type } = entry ?? {};
    if (entry == null || typeof path !== 'string' || typeof type !== 'string') throw this.#notValid('something');
    // In a directory that came before, and nothing twice: so nothing can be put where a link leads. The first is the whole.
    const placed = this.#kinds.size === 0 ? path === '' && type === 'directory' : isInside(path) && this.#kinds.get(path.slice(0, Math.max(0, path.lastIndexOf('/')))) === 'directory' && !this.#kinds.has(path);
    if (!placed) throw this.#notValid(path);
    if (this.#kinds.size > MAX_TREE_ENTRIES) throw new FileError('ERR_TENDRIL_FILE_TOO_LARGE', `${this.#where}: the directory has more than ${String(MAX_TREE_ENTRIES)} entries; transfer it in parts`);
    this.#kinds.set(path, type);
    switch (entry.type) {
      case 'directory':
        if (path !== '') this.directories.push(path);
        // The deepest first, so that one which may not be written into is the last to become so.
        this.attributes.unshift([path, directoryAttributes(this.#info(entry), this.#options)]);
        return;
      case 'file': {
        const { size } = this.#info(entry);
        this.bytes += size;
        (size <= CHUNK_BYTES ? this.small : this.large).push({ path, size });
        return;
      }
      case 'symlink':
        if (this.#options.symlinks === 'refuse') throw new FileError('ERR_TENDRIL_FILE_SYMLINK', `${this.#where}: ${path} is a symbolic link, and the option symlinks refuses them`);
        if (typeof entry.target !== 'string' || entry.target === '' || entry.target.includes('\0')) throw this.#notValid(path);
        this.links.push([path, entry.target]);
        return;
      case 'other':
        this.skipped.push(path);
        return;
      default:
        throw this.#notValid(path);
    }
  }

  #info({ info, path }: { readonly info: FileInfo; readonly path: string }): FileInfo {
    if (!isInfo(info) || info.size === Infinity) throw this.#notValid(path);
    return info;
  }

  #notValid(what: string): FileError {
    return new FileError('ERR_TENDRIL_FILE_CHECKSUM', `${this.#where}: ${what} cannot be in the list of a directory`);
  }
}

/** Whether a path goes nowhere but down. */
function isInside(path: string): boolean {
  return path.length <= 4096 && !path.includes('\0') && !(sep === '\\' && path.includes('\\')) && path.split('/').every((step) => step !== '' && step !== '.' && step !== '..');
}
