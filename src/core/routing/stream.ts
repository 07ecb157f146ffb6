import { AsyncSubject, Observable, map, of } from 'rxjs';
import type { Subscription } from 'rxjs';
import type { Broker, Link } from '../broker/broker.ts';
import { OutBatch } from '../broker/out-batch.ts';
import { ChannelError } from '../errors.ts';
import { FrameDecoder, HEADER_LENGTH, MAX_PAYLOAD, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { DEL_ROUTE, DETACHING } from '../wire/handles.ts';
import { LENT } from '../wire/lent.ts';
import type { Lent } from '../wire/lent.ts';
import { BulkQueue, SMALL } from './bulk-queue.ts';
import { Pacer } from './pacer.ts';

/** Bytes of a set of context IDs, a bit for each: as large whatever a hostile peer sends. */
const ID_SET_BYTES: number = 2 ** 16 / 8;

/**
 * Bytes after which a batch is written before its turn is over, so that the peer works while we go on. Without it, ends
 * that exchange large batches take turns instead of working at the same time (measured, docs/decisions.md D-008).
 */
const FLUSH_BYTES: number = 8 * 1024;

/** Bytes that a peer may leave unread before nothing more is read from it. */
const MAX_UNREAD_BYTES: number = 8 * 1024 * 1024;

/** Something that waits for a stream to be connected. */
interface Waiting {
  readonly go: () => void;
  readonly fail: (error: Error) => void;
}

/**
 * A direct peer: frames over a link. It can be used before the link is there: messages wait, in order, and so do those
 * who ask with {@link Stream.whenOpen}.
 */
export class Stream {
  /** Context at the other end. */
  readonly remoteId: number;
  /** Emits why the stream ended (undefined for end of file), once; replays. */
  readonly closed: Observable<Error | undefined>;
  readonly #closed = new AsyncSubject<Error | undefined>();
  readonly #broker: Broker;
  #link: Link | undefined;
  #deliver: (batch: readonly Message[], from: Stream) => void = () => undefined;
  #waiting: (Waiting | Message)[] = [];
  readonly #batch = new OutBatch();
  readonly #bulk = new BulkQueue();
  readonly #pacer: Pacer;
  /** Bytes of bulk that the link has and has not written. */
  #given = 0;
  #pumping = false;
  readonly #decoder: FrameDecoder;
  #known: Uint8Array | undefined;
  #reading: Subscription | undefined;
  #flushing = false;
  #held = false;
  #ended = false;
  /** Used by a {@link Joiner}. */
  unfinishedBytes = 0;

  /** @param bulkRate - bytes a second of bulk while small messages use the link too; undefined: by the number of processors */
  constructor(broker: Broker, remoteId: number, maxMessageSize: number, bulkRate?: number) {
    this.remoteId = remoteId;
    this.closed = this.#closed.asObservable();
    this.#broker = broker;
    this.#pacer = new Pacer(broker, bulkRate);
    this.#decoder = new FrameDecoder(Math.min(maxMessageSize, MAX_PAYLOAD));
  }

  /** True from {@link Stream.open} on, also when it has ended since. */
  get opened(): boolean {
    return this.#link !== undefined;
  }

  /** Begins to work. `deliver` gets the messages of each chunk; `first` are bytes that were read before. */
  open(link: Link, deliver: (batch: readonly Message[], from: Stream) => void, first?: Uint8Array): void {
    if (this.#ended) {
      link.destroy();
      return;
    }
    this.#link = link;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const item of waiting) {
      if ('go' in item) item.go();
      else this.send(item);
    }
    this.#deliver = deliver;
    if (first) this.feed(first);
    if (this.#isEnded()) return;
    this.#reading = link.chunks.pipe(map((chunk) => this.#decoder.push(chunk, link.volatile))).subscribe({
      next: (batch) => {
        deliver(batch, this);
        if (this.#decoder.failure) this.disconnect(this.#decoder.failure);
        else if (this.pendingBytes > MAX_UNREAD_BYTES) this.#hold(link);
      },
      error: (error: unknown) => {
        this.disconnect(error as Error);
      },
      complete: () => {
        this.disconnect();
      },
    });
    // A link that was at its end already completed before `#reading` was set.
    if (this.#isEnded()) this.#reading.unsubscribe();
  }

  /** A peer that asks for answers and does not read them waits until it has. */
  #hold(link: Link): void {
    if (this.#held || !link.holdReading) return;
    this.#held = true;
    link.holdReading();
    this.drained.subscribe(() => {
      this.#held = false;
      link.releaseReading?.();
    });
  }

  #isEnded(): boolean {
    return this.#ended;
  }

  /** Queues a message; everything that one turn sends goes out in one write. */
  send(message: Message): void {
    if (this.#ended) return;
    if (this.#link === undefined) {
      this.#waiting.push(message);
      return;
    }
    this.#link.note?.(message);
    if (!this.#bulk.empty || payloadLength(message) > SMALL) {
      const { srcId, handle, buffer, data } = message;
      // Whoever hears of an end has had all that came before it.
      if (buffer === undefined && handle === DETACHING) this.settle();
      if (buffer === undefined && handle === DEL_ROUTE) for (const id of [srcId, (data[0] ?? 0) * 256 + (data[1] ?? 0)]) this.settle(id);
      if (this.#bulk.add(message)) {
        this.#write();
        return;
      }
    }
    this.#pacer.note(message);
    this.#batch.push(message);
    if (this.#batch.bytes >= FLUSH_BYTES) {
      this.#write();
      return;
    }
    if (this.#flushing) return;
    this.#flushing = true;
    this.#broker.defer(() => {
      this.flush();
    });
  }

  /**
   * Runs `go` when the stream is open, behind the messages that wait already; or `fail` when it ends before.
   * The returned function withdraws both.
   */
  whenOpen(go: () => void, fail: (error: Error) => void): () => void {
    const waiting: Waiting = { go, fail };
    this.#waiting.push(waiting);
    return () => {
      const index = this.#waiting.indexOf(waiting);
      if (index >= 0) this.#waiting.splice(index, 1);
    };
  }

  /** Writes what is queued now. */
  flush(): void {
    this.#flushing = false;
    this.#write();
  }

  /** Gives the link all that waits, or all of one source: nothing that is sent from now on overtakes it. */
  settle(srcId?: number): void {
    if (this.#link === undefined) return;
    for (let piece = this.#bulk.next(srcId); piece !== undefined; piece = this.#bulk.next(srcId)) this.#batch.push(piece);
    this.#write();
  }

  #write(): void {
    const link = this.#link;
    if (this.#ended || link === undefined) return;
    let given = 0;
    const pieces: Message[] = [];
    while (!this.#bulk.empty && (!link.paced || this.#pacer.mayGive(this.#given + given))) {
      const piece = this.#bulk.next();
      if (piece === undefined) break;
      given += HEADER_LENGTH + payloadLength(piece);
      pieces.push(piece);
      this.#batch.push(piece);
    }
    if (this.#batch.bytes === 0) return;
    const parts = this.#batch.take();
    if (given > 0) {
      this.#given += given;
      if (link.paced) this.#pacer.give(given);
      link.write(parts, () => {
        this.#given -= given;
        for (const piece of pieces) {
          piece.release?.();
          for (const part of (piece.tail ?? []) as readonly Lent[]) part[LENT]?.();
        }
        this.#pump();
      });
    } else link.write(parts);
    if (link.pendingBytes === 0) this.#batch.reuse();
    this.#bulk.written();
  }

  /** Gives the link more in the next turn, or later: what has arrived is looked at before. */
  #pump(): void {
    if (this.#pumping || (this.#bulk.empty && !this.#pacer.due)) return;
    this.#pumping = true;
    this.#broker.after(this.#pacer.pause(), () => {
      this.#pumping = false;
      this.#pacer.resume();
      this.#write();
    });
  }

  /** Notes that the peer has sent to `id`, or heard from it, so that it can be told when `id` is gone. */
  learn(id: number): void {
    this.#known ??= new Uint8Array(ID_SET_BYTES);
    this.#known[id >> 3] = (this.#known[id >> 3] ?? 0) | (1 << (id & 7));
  }

  /** True when the peer knows of `id`; forgets it. */
  forget(id: number): boolean {
    const known = this.#known?.[id >> 3] ?? 0;
    const left = known & ~(1 << (id & 7));
    if (this.#known) this.#known[id >> 3] = left;
    return known !== left;
  }

  /** Takes bytes that were read elsewhere, in front of those that the link will give. */
  feed(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    let batch: readonly Message[];
    try {
      batch = this.#decoder.push(bytes, false);
    } catch (error) {
      this.disconnect(error as Error);
      return;
    }
    this.#deliver(batch, this);
  }

  /** True when nothing comes or goes any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** How many bytes of an incomplete message are held. */
  get partialBytes(): number {
    return this.#decoder.pending;
  }

  /** Bytes of an incomplete message, which are forgotten here: for handing the stream over to another thread. */
  takeRemainder(): Buffer {
    return this.#decoder.takeRemainder();
  }

  /** Bytes queued here and in the link. */
  get pendingBytes(): number {
    return this.#batch.bytes + this.#bulk.bytes + (this.#link?.pendingBytes ?? 0);
  }

  /** Emits when what was queued so far is written. */
  get drained(): Observable<void> {
    this.flush();
    return new Observable((subscriber) => {
      this.#bulk.whenTaken(() => {
        (this.#link?.drained ?? of(undefined)).subscribe(subscriber);
      });
    });
  }

  /** Sends what is queued, then end of file; the stream closes when the peer closes its side. */
  end(): void {
    this.settle();
    this.#link?.end();
  }

  /** Ends both directions at once. */
  disconnect(error?: Error): void {
    if (this.#ended) return;
    this.settle();
    this.#ended = true;
    this.#reading?.unsubscribe();
    this.#link?.destroy();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const item of waiting) if ('fail' in item) item.fail(error ?? new ChannelError('respondent-gone', 'the context has disconnected'));
    this.#closed.next(error);
    this.#closed.complete();
  }
}
