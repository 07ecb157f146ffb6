import { unlink } from 'node:fs/promises';
import type { Unsubscribable } from 'rxjs';
import type { Delivery, RemoteStream } from '../../core/call/remote-stream.ts';
import { FILE_WINDOW } from '../chunks.ts';
import { Feed } from '../feed.ts';
import { errnoOf, fault } from '../fault.ts';
import { checkItem } from './check.ts';
import { fileFault } from './file-fault.ts';
import type { FileAttributes, FileHead, FileItem, FilePart, WriteEvent, WriteSpec } from './protocol.ts';
import { FileSink } from './sink.ts';
import { temporaryName } from './temporary.ts';

/** Bytes between two reports of how far it is. */
const REPORT_BYTES: number = 1024 * 1024;

const CHANNEL = 'ERR_TENDRIL_CHANNEL';

/** Writes a file from a stream. */
export class Reception {
  /** How far it is. Leaving it removes what has come, unless it is to be gone on with. */
  readonly events: AsyncIterableIterator<WriteEvent, undefined, undefined>;
  readonly #spec: WriteSpec;
  readonly #open: (part: FilePart) => Pick<RemoteStream<FileItem>, 'deliveries'>;
  readonly #attributes: ((head: FileHead) => FileAttributes) | undefined;
  #head: FileHead | undefined;
  #received = 0;
  #sink: FileSink | undefined;
  #subscription: Unsubscribable | undefined;
  /** What has come before the beginning was settled. */
  #early: Delivery<Uint8Array>[] | undefined;
  #begun: Promise<void> | undefined;
  #checksum: string | undefined;
  readonly #events = new Feed<WriteEvent>(() => this.#finish(undefined, this.#spec.resumable));
  #reported = 0;
  #over = false;

  /**
   * @param open - gives the stream, for someone who has a part of the file already
   * @param attributes - what the file is to have, where its sender says what it has
   */
  constructor(spec: WriteSpec, open: (part: FilePart) => Pick<RemoteStream<FileItem>, 'deliveries'>, attributes?: (head: FileHead) => FileAttributes) {
    this.#spec = spec;
    this.#open = open;
    this.#attributes = attributes;
    this.events = this.#events;
    void this.#start();
  }

  async #start(): Promise<void> {
    try {
      const sink = (this.#sink = await FileSink.open(this.#spec, (error) => void this.#fail(error)));
      if (this.#isOver()) {
        await sink.abandon(this.#spec.resumable);
        return;
      }
      if (this.#spec.resumable) this.#events.push(['part', sink.part]);
      this.#subscription = this.#open(sink.part).deliveries().subscribe({
        next: (delivery) => {
          this.#take(delivery, sink);
        },
        error: (error: unknown) => void this.#fail(error),
        complete: () => void this.#complete(sink),
      });
      // It may have failed before there was something to end.
      if (this.#isOver()) this.#subscription.unsubscribe();
    } catch (error) {
      await this.#fail(error);
      // Whoever sends hears that nobody takes it.
      if (this.#subscription === undefined) this.#open({ bytes: 0, checksum: '' }).deliveries().subscribe({ error: () => undefined }).unsubscribe();
    }
  }

  #isOver(): boolean {
    return this.#over;
  }

  #take(delivery: Delivery<FileItem>, sink: FileSink): void {
    if (this.#over) return;
    let value: FileItem;
    try {
      value = checkItem(delivery.value, this.#spec, this.#head, this.#received);
    } catch (error) {
      void this.#fail(error);
      return;
    }
    if (value instanceof Uint8Array) {
      this.#received += value.length;
      if (this.#early) this.#early.push(delivery as Delivery<Uint8Array>);
      else this.#write(sink, delivery as Delivery<Uint8Array>);
      return;
    }
    delivery.done();
    if ('checksum' in value) {
      this.#checksum = value.checksum;
      return;
    }
    this.#head = value;
    this.#received = value.offset;
    this.#events.push(['head', value.size]);
    this.#early = [];
    this.#begun = sink.begin(value.offset).then(
      () => {
        const early = this.#early ?? [];
        this.#early = undefined;
        for (const waiting of early) this.#write(sink, waiting);
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #write(sink: FileSink, delivery: Delivery<Uint8Array>): void {
    sink.take(delivery.value, () => {
      delivery.done();
      if (sink.bytes - this.#reported < REPORT_BYTES) return;
      this.#reported = sink.bytes;
      this.#report(sink.bytes);
    });
    delivery.release?.();
  }

  async #complete(sink: FileSink): Promise<void> {
    try {
      // The end may come with the beginning.
      await this.#begun;
      if (this.#isOver()) return;
      if (this.#head === undefined || this.#checksum === undefined) throw fault('ERR_TENDRIL_FILE_CHECKSUM', `${this.#spec.path}: the stream ended before the file did`);
      const checksum = await sink.finish(this.#checksum, this.#attributes?.(this.#head));
      this.#over = true;
      this.#events.push(['done', checksum, sink.bytes]);
      this.#events.end();
    } catch (error) {
      await this.#fail(error);
    }
  }

  #fail(error: unknown): Promise<void> {
    const resumable = this.#spec.resumable && errnoOf(error) === CHANNEL;
    return this.#finish({ error: fileFault(error, this.#spec.path) }, resumable);
  }

  async #finish(failure: { readonly error: Error } | undefined, resumable: boolean): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#subscription?.unsubscribe();
    // Nothing is left by the time that the caller hears of it.
    await this.#sink?.abandon(resumable);
    this.#events.end(failure);
  }

  /** Only the last report of how far it is counts. */
  #report(bytes: number): void {
    if (this.#events.values.at(-1)?.[0] === 'at') this.#events.pop();
    this.#events.push(['at', bytes]);
  }
}

/** Writes a file from a stream of what it is, its bytes and its end. */
export function receiveFile(spec: WriteSpec, data: RemoteStream<FileItem>): AsyncIterable<WriteEvent> {
  return new Reception(spec, () => data.windowed(FILE_WINDOW)).events;
}

/** Writes a small file. */
export async function receiveBytes(spec: WriteSpec, bytes: Uint8Array, checksum: string): Promise<string> {
  const sink = await FileSink.open(spec, () => undefined);
  sink.take(bytes);
  return sink.finish(checksum);
}

/** Removes what an interrupted transfer has left. */
export async function discardFile(path: string, id: string): Promise<void> {
  await unlink(temporaryName(path, id)).catch(() => undefined);
}
