import { constants } from 'node:fs';
import { link, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fault } from '../fault.ts';
import { Checksum } from './checksum.ts';
import { fileFault } from './file-fault.ts';
import type { FileAttributes, FilePart, WriteSpec } from './protocol.ts';
import { keep, removeAtExit, temporaryName } from './temporary.ts';

/** Bytes of a write. */
const WRITE_BYTES: number = 1024 * 1024;
/** Bytes of the first: a tree has many files that are no larger. */
const FIRST_BYTES: number = 64 * 1024;
/** Memory of writes that is kept: what waits on a disk that is slower than its source comes and goes. */
const MAX_SPARE = 9;
/** Bytes that are read at a time of what an interrupted transfer has left. */
const READ_BYTES: number = 512 * 1024;

/** What one write takes. */
interface Block {
  readonly memory: Buffer;
  length: number;
  /** Told when it is written. */
  readonly done: (() => void)[];
}

/** A file that is being written, under a temporary name in the directory where it is to be. */
export class FileSink {
  readonly #spec: WriteSpec;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  readonly #onFault: (error: Error) => void;
  #checksum: Checksum;
  #at = 0;
  /** What waits; the last one is not full, or nothing. */
  #blocks: Block[] = [];
  readonly #spare: Buffer[] = [];
  #begun = false;
  #writing: Promise<void> | undefined;
  #error: Error | undefined;
  #closed = false;

  private constructor(spec: WriteSpec, temporary: string, handle: FileHandle, onFault: (error: Error) => void) {
    this.#spec = spec;
    this.#temporary = temporary;
    this.#handle = handle;
    this.#onFault = onFault;
    this.#checksum = new Checksum(this.#spec.checksum);
  }

  /**
   * Begins to write. What an interrupted transfer of the same `id` has left is kept.
   *
   * @param onFault - told when writing fails
   */
  static async open(spec: WriteSpec, onFault: (error: Error) => void): Promise<FileSink> {
    const { path, id, parents, resumable, overwrite } = spec;
    const temporary = temporaryName(path, id);
    try {
      const there = await lstat(path).catch(() => undefined);
      if (there?.isDirectory() === true) throw Object.assign(new Error(), { code: 'EISDIR' });
      if (there !== undefined && !overwrite) throw Object.assign(new Error(), { code: 'EEXIST' });
      if (parents) await mkdir(dirname(path), { recursive: true });
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | (resumable ? 0 : constants.O_EXCL);
      // For nobody else until it has its own mode.
      const handle = await open(temporary, flags, 0o600);
      removeAtExit(temporary);
      const sink = new FileSink(spec, temporary, handle, onFault);
      if (resumable) await sink.#takeUp();
      return sink;
    } catch (error) {
      throw fileFault(error, path);
    }
  }

  /** Bytes that are written. */
  get bytes(): number {
    return this.#at;
  }

  /** What there is of it. */
  get part(): FilePart {
    return { bytes: this.#at, checksum: this.#checksum.digest };
  }

  /** What comes next begins here: behind what there is, or anew. */
  async begin(offset: number): Promise<void> {
    if (offset === this.#at) return;
    if (offset !== 0) throw fault('ERR_TENDRIL_FILE_IO', `${this.#spec.path}: what comes begins at ${String(offset)}, and there are ${String(this.#at)} bytes`);
    try {
      await this.#handle.truncate(0);
    } catch (error) {
      throw fileFault(error, this.#spec.path);
    }
    this.#at = 0;
    this.#checksum = new Checksum(this.#spec.checksum);
  }

  /**
   * Takes the next bytes; `done` when they are written. They are copied: what waits for a disk outlives collections of V8's
   * young generation, and memory that is used again costs less than such garbage (docs/decisions.md, D-104).
   */
  take(bytes: Uint8Array, done?: () => void): void {
    if (this.#error) return;
    this.#checksum.update(bytes);
    for (let at = 0; at < bytes.length; ) {
      let block = this.#blocks.at(-1);
      if (block === undefined || block.length === block.memory.length) this.#blocks.push((block = { memory: this.#memory(), length: 0, done: [] }));
      const count = Math.min(bytes.length - at, block.memory.length - block.length);
      block.memory.set(bytes.subarray(at, at + count), block.length);
      block.length += count;
      at += count;
    }
    const last = this.#blocks.at(-1);
    if (done && last) last.done.push(done);
    else done?.();
    this.#writing ??= this.#write();
  }

  /**
   * The bytes are complete: the file gets its attributes and its name. Returns its checksum. What fails leaves nothing.
   *
   * @param checksum - what it must be
   */
  async finish(checksum: string | undefined, attributes: FileAttributes = this.#spec.attributes): Promise<string> {
    const { path, overwrite, sync } = this.#spec;
    try {
      while (this.#writing) await this.#writing;
      if (this.#error) throw this.#error;
      const got = this.#checksum.digest;
      if (checksum !== undefined && got !== checksum) throw fault('ERR_TENDRIL_FILE_CHECKSUM', `${path}: what has arrived is not what was sent: its checksum is ${got}, and should be ${checksum}`);
      await this.#attribute(attributes);
      if (sync) await this.#handle.sync();
      if (overwrite) await rename(this.#temporary, path);
      else {
        await link(this.#temporary, path);
        await unlink(this.#temporary);
      }
      keep(this.#temporary);
      if (sync) await syncDirectory(dirname(path));
      return got;
    } catch (error) {
      await this.abandon();
      throw fileFault(error, path);
    } finally {
      await this.#close();
    }
  }

  /** Nothing more comes, and nothing is to be left; unless it is to be gone on with. */
  async abandon(resumable = false): Promise<void> {
    this.#blocks = [];
    this.#error ??= fault('ERR_TENDRIL_FILE_IO', `${this.#spec.path}: it was given up`);
    while (this.#writing) await this.#writing;
    await this.#close();
    if (!resumable) await unlink(this.#temporary).catch(() => undefined);
    keep(this.#temporary);
  }

  #memory(): Buffer {
    const bytes = this.#begun ? WRITE_BYTES : FIRST_BYTES;
    this.#begun = true;
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(bytes);
  }

  async #write(): Promise<void> {
    try {
      // Not before the turn is over: what comes with it is written with it.
      await Promise.resolve();
      for (let block = this.#blocks.shift(); block !== undefined; block = this.#blocks.shift()) {
        const { memory, length, done } = block;
        // A short write says that there is no more room; the next one says why.
        for (let at = 0; at < length; ) at += (await this.#handle.write(memory, at, length - at, this.#at + at)).bytesWritten;
        this.#at += length;
        if (memory.length === WRITE_BYTES && this.#spare.length < MAX_SPARE) this.#spare.push(memory);
        for (const each of done) each();
      }
    } catch (error) {
      this.#blocks = [];
      if (this.#error === undefined) this.#onFault((this.#error = fileFault(error, this.#spec.path)));
    } finally {
      this.#writing = undefined;
    }
  }

  async #attribute({ mode, uid, gid, mtimeMs, atimeMs }: FileAttributes): Promise<void> {
    // The owner first: a change of it takes away some bits of the mode.
    if (uid !== undefined || gid !== undefined) await this.#handle.chown(uid ?? -1, gid ?? -1);
    await this.#handle.chmod(mode);
    if (mtimeMs === undefined && atimeMs === undefined) return;
    const now = await this.#handle.stat();
    await this.#handle.utimes((atimeMs ?? now.atimeMs) / 1000, (mtimeMs ?? now.mtimeMs) / 1000);
  }

  /** Looks at what is there: ours, and nobody else's by another name. */
  async #takeUp(): Promise<void> {
    const { uid, nlink } = await this.#handle.stat();
    if (uid !== process.geteuid?.() || nlink !== 1) throw fault('ERR_TENDRIL_FILE_PERMISSION', `${this.#temporary}: what is there is not what this transfer has left`);
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (;;) {
      const { bytesRead } = await this.#handle.read(buffer, 0, READ_BYTES, this.#at);
      if (bytesRead === 0) return;
      this.#checksum.update(buffer.subarray(0, bytesRead));
      this.#at += bytesRead;
    }
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#handle.close().catch(() => undefined);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
