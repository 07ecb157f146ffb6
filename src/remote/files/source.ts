import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';
import { CHUNK_BYTES } from '../chunks.ts';
import { fault } from '../fault.ts';
import { LentMemory } from '../lent.ts';
import { Checksum } from './checksum.ts';
import type { ChecksumKind } from './checksum.ts';
import { fileFault } from './file-fault.ts';
import type { FileHead, FileInfo, FileItem, FilePart } from './protocol.ts';

/** Chunks that are read at a time; one such batch is read ahead. */
const BATCH = 8;

interface Batch {
  readonly buffers: readonly Uint8Array[];
  readonly bytesRead: number;
}

/** A file that is read as a whole: it must not change meanwhile. */
export class FileSource {
  readonly path: string;
  readonly info: FileInfo;
  readonly #handle: FileHandle;
  readonly #stats: BigIntStats;
  readonly #lent = new LentMemory(CHUNK_BYTES);
  /** What is read ahead. */
  #reading: Promise<unknown> = Promise.resolve();

  private constructor(path: string, handle: FileHandle, stats: BigIntStats) {
    this.path = path;
    this.#handle = handle;
    this.#stats = stats;
    this.info = infoOf(stats);
  }

  /**
   * @param follow - whether the path may be a symbolic link
   * @param admit - looks at the file that was opened; throws where it must not be read
   */
  static async open(path: string, follow = true, admit?: (stats: BigIntStats) => Promise<void>): Promise<FileSource> {
    try {
      // A named pipe would keep us waiting for its writer.
      const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | (follow ? 0 : constants.O_NOFOLLOW));
      try {
        const stats = await handle.stat({ bigint: true });
        // Before anything is said about what it is.
        await admit?.(stats);
        if (stats.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
        if (!stats.isFile()) throw fault('ERR_TENDRIL_FILE_KIND', `${path}: it is neither a file nor a directory`);
        return new FileSource(path, handle, stats);
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      throw fileFault(error, path);
    }
  }

  /**
   * What it is, its bytes, and its end. Closes it. Throws ERR_TENDRIL_FILE_CHANGED when it was changed meanwhile.
   *
   * @param part - what the reader has: the bytes behind it come if it is what the file begins with, else all
   * @param lend - its bytes are sent to one context and looked at by nobody else: their memory is used again
   */
  async *items(kind: ChecksumKind, part?: FilePart, lend = false): AsyncGenerator<FileItem, undefined> {
    const { size } = this.info;
    const checksum = new Checksum(kind);
    try {
      let at = part !== undefined && part.bytes <= size && (await this.#begin(kind, part.bytes)) === part.checksum ? part.bytes : 0;
      yield { ...this.info, offset: at } satisfies FileHead;
      if (at > 0) for await (const chunk of this.#chunks(0, at)) checksum.update(chunk);
      for await (const chunk of this.#chunks(at, size, lend)) {
        checksum.update(chunk);
        at += chunk.length;
        yield chunk;
      }
      const stats = await this.#handle.stat({ bigint: true });
      if (at < size || stats.size !== this.#stats.size || stats.mtimeNs !== this.#stats.mtimeNs || stats.ino !== this.#stats.ino) throw fault('ERR_TENDRIL_FILE_CHANGED', `${this.path}: it was changed while it was read`);
      yield { checksum: checksum.digest };
    } catch (error) {
      throw fileFault(error, this.path);
    } finally {
      await this.close();
    }
  }

  /** All of it, where it is small. Closes it. */
  async whole(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const item of this.items('crc32')) if (item instanceof Uint8Array) chunks.push(item);
    return Buffer.concat(chunks);
  }

  /** Again is nothing. */
  async close(): Promise<void> {
    await this.#reading.catch(() => undefined);
    await this.#handle.close().catch(() => undefined);
  }

  /** The checksum of its first bytes. */
  async #begin(kind: ChecksumKind, bytes: number): Promise<string> {
    const checksum = new Checksum(kind);
    for await (const chunk of this.#chunks(0, bytes)) checksum.update(chunk);
    return checksum.digest;
  }

  /** Its bytes from `at` to `end`, or to where it ends now. */
  async *#chunks(at: number, end: number, lend = false): AsyncGenerator<Uint8Array, undefined> {
    const memory = (length: number): Buffer => (lend && length === CHUNK_BYTES ? this.#lent.take() : Buffer.allocUnsafeSlow(length));
    let next = this.#ahead(at, end, memory);
    while (at < end) {
      const { buffers, bytesRead } = await next;
      at += bytesRead;
      if (bytesRead === 0) return;
      next = this.#ahead(at, end, memory);
      let left = bytesRead;
      for (const buffer of buffers) {
        if (left <= 0) break;
        yield left < buffer.length ? buffer.subarray(0, left) : buffer;
        left -= buffer.length;
      }
    }
  }

  #ahead(at: number, end: number, memory: (length: number) => Buffer): Promise<Batch> {
    const reading = this.#batch(at, end, memory);
    // It may be given up without being awaited.
    reading.catch(() => undefined);
    this.#reading = reading;
    return reading;
  }

  /** Memory of its own for each chunk: it is sent as it is. */
  async #batch(at: number, end: number, memory: (length: number) => Buffer): Promise<Batch> {
    const buffers: Buffer[] = [];
    for (let from = at; from < end && buffers.length < BATCH; from += CHUNK_BYTES) buffers.push(memory(Math.min(CHUNK_BYTES, end - from)));
    if (buffers.length === 0) return { buffers, bytesRead: 0 };
    const { bytesRead } = await this.#handle.readv(buffers, at);
    return { buffers, bytesRead };
  }
}

export function infoOf(stats: BigIntStats): FileInfo {
  return { size: Number(stats.size), mode: Number(stats.mode & 0o7777n), uid: Number(stats.uid), gid: Number(stats.gid), mtimeMs: Number(stats.mtimeNs) / 1e6, atimeMs: Number(stats.atimeNs) / 1e6 };
}
