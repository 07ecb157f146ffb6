import { Observable, Subject, defer, of, take } from 'rxjs';
import type { Subscriber } from 'rxjs';
import { DEFAULT_READ_BUFFER_SIZE } from './broker.ts';
import type { Broker, Link } from './broker.ts';
import type { Splitter } from './seeded.ts';

/** What a connection is like. */
export interface VirtualLinkOptions {
  /** How long bytes are on the way, in milliseconds; a function is asked for each write. Default 0. Order is kept. */
  readonly latencyMs?: number | (() => number);
  /** How long the operating system leaves written bytes pending, their memory being read only then. Default 0: not at all. */
  readonly takeMs?: number;
  /** Cuts, and joins, what was written into chunks. Default: all that is there, at most {@link readBufferSize}. */
  readonly split?: Splitter;
  /** How many bytes of each direction the operating system takes in a millisecond. Default: all at once, behind {@link takeMs}. */
  readonly bytesPerMs?: number;
  /** Reads into one buffer that is overwritten after each delivery, so that a view that was kept shows. Default false. */
  readonly volatile?: boolean;
  /** Largest chunk in bytes. Default 128 KiB. */
  readonly readBufferSize?: number;
  /** The connection is lost this many milliseconds after it was made. Default never. */
  readonly loseAfterMs?: number;
  /** The connection is lost when this many bytes, of both directions together, were delivered. Default never. */
  readonly loseAfterBytes?: number;
  /** What both readers get when the connection is lost: this error, or end of file when there is none. */
  readonly lossError?: Error;
}

/** A connected pair of links, and what a test can do to the wire between them. */
export class VirtualLinks {
  /** One end. */
  readonly left: Link;
  /** The other end. */
  readonly right: Link;
  /** How long bytes that are written from now on are on the way. */
  latencyMs: number | (() => number);
  /** Bytes delivered so far, of both directions. */
  deliveredBytes = 0;
  readonly #pipes: readonly [Pipe, Pipe];
  readonly #loseAfterBytes: number;
  readonly #lossError: Error | undefined;
  #lost = false;

  constructor(broker: Broker, options: VirtualLinkOptions = {}) {
    this.latencyMs = options.latencyMs ?? 0;
    this.#loseAfterBytes = options.loseAfterBytes ?? Infinity;
    this.#lossError = options.lossError;
    const rightwards = new Pipe(broker, this, options);
    const leftwards = new Pipe(broker, this, options);
    this.#pipes = [rightwards, leftwards];
    this.left = new End(leftwards, rightwards);
    this.right = new End(rightwards, leftwards);
    if (options.loseAfterMs !== undefined) broker.after(options.loseAfterMs, () => { this.lose(); });
  }

  /** True once the connection was lost. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Cuts the connection: bytes on the way are lost, both readers see `error`, or end of file. */
  lose(error: Error | undefined = this.#lossError): void {
    if (this.#lost) return;
    this.#lost = true;
    for (const pipe of this.#pipes) pipe.break(error);
  }

  /** @internal How many bytes may still be delivered. */
  get deliverable(): number {
    return this.#loseAfterBytes - this.deliveredBytes;
  }

  /** @internal */
  delivered(bytes: number): void {
    this.deliveredBytes += bytes;
    if (this.deliverable <= 0) this.lose();
  }
}

/** A connected pair of links in memory, in the time of `broker`. */
export function virtualLinks(broker: Broker, options: VirtualLinkOptions = {}): VirtualLinks {
  return new VirtualLinks(broker, options);
}

/** One direction. Like a kernel's: what was written arrives, in order, also when the writer has gone since. */
class Pipe {
  readonly volatile: boolean;
  readonly #broker: Broker;
  readonly #wire: VirtualLinks;
  /** Bytes that are written, but not taken. */
  pendingBytes = 0;
  readonly #taken = new Subject<void>();
  readonly #takeMs: number;
  readonly #bytesPerMs: number;
  /** When what was written last is taken. */
  #lastTaking = 0;
  readonly #split: Splitter;
  readonly #readBuffer: Buffer | undefined;
  readonly #readBufferSize: number;
  /** Bytes that have arrived and are not read yet. */
  #arrived: Buffer = Buffer.alloc(0);
  #reader: Subscriber<Uint8Array> | undefined;
  /** When the bytes that were written last arrive; nothing overtakes them. */
  #lastArrival = 0;
  #reading = false;
  #writable = true;
  /** How this direction ends, once all that has arrived is read. */
  #end: { readonly error: Error | undefined } | undefined;
  #dropped = false;

  constructor(broker: Broker, wire: VirtualLinks, options: VirtualLinkOptions) {
    this.#broker = broker;
    this.#wire = wire;
    this.#readBufferSize = options.readBufferSize ?? DEFAULT_READ_BUFFER_SIZE;
    this.#takeMs = options.takeMs ?? 0;
    this.#bytesPerMs = options.bytesPerMs ?? Infinity;
    this.#split = options.split ?? ((available) => available);
    this.volatile = options.volatile ?? false;
    if (this.volatile) this.#readBuffer = Buffer.alloc(this.#readBufferSize);
  }

  /** Emits once when nothing is pending. */
  get drained(): Observable<void> {
    return this.pendingBytes === 0 ? of(undefined) : this.#taken.pipe(take(1));
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (!this.#writable || length === 0) return;
    if (this.#takeMs === 0 && this.#bytesPerMs === Infinity) {
      this.#take(parts);
      written?.();
      return;
    }
    this.pendingBytes += length;
    const now = this.#broker.now();
    this.#lastTaking = Math.max(now + this.#takeMs, this.#lastTaking) + length / this.#bytesPerMs;
    this.#broker.after(this.#lastTaking - now, () => {
      if (this.pendingBytes === 0) return;
      this.pendingBytes -= length;
      this.#take(parts);
      if (this.pendingBytes === 0) this.#taken.next();
      written?.();
    });
  }

  /** End of file, behind what was written. */
  end(): void {
    if (!this.#writable) return;
    this.#writable = false;
    this.drained.subscribe(() => {
      this.#arrive(() => {
        this.#end = { error: undefined };
      });
    });
  }

  /** The writing side has closed: what is pending is lost. */
  abandon(): void {
    this.#forget();
    this.end();
  }

  /** Copies the bytes: the writer may use its memory again. */
  #take(parts: readonly Uint8Array[]): void {
    const bytes = Buffer.concat(parts);
    this.#arrive(() => {
      this.#arrived = this.#arrived.length === 0 ? bytes : Buffer.concat([this.#arrived, bytes]);
    });
  }

  #forget(): void {
    if (this.pendingBytes === 0) return;
    this.pendingBytes = 0;
    this.#taken.next();
  }

  /** The reading side has closed: what arrives goes nowhere. */
  drop(): void {
    if (this.#dropped) return;
    this.#writable = false;
    this.#finish(undefined);
  }

  /** The connection is lost. */
  break(error: Error | undefined): void {
    if (this.#dropped) return;
    this.#writable = false;
    this.#finish(error);
  }

  subscribe(subscriber: Subscriber<Uint8Array>): () => void {
    this.#reader = subscriber;
    this.#wake();
    return () => {
      if (this.#reader === subscriber) this.#reader = undefined;
    };
  }

  #arrive(take: () => void): void {
    const { latencyMs } = this.#wire;
    const now = this.#broker.now();
    this.#lastArrival = Math.max(this.#lastArrival, now + Math.max(0, typeof latencyMs === 'number' ? latencyMs : latencyMs()));
    this.#broker.after(this.#lastArrival - now, () => {
      if (this.#dropped) return;
      take();
      this.#wake();
    });
  }

  #finish(error: Error | undefined): void {
    this.#dropped = true;
    this.#forget();
    this.#arrived = Buffer.alloc(0);
    this.#end = { error };
    this.#wake();
  }

  #wake(): void {
    if (this.#reading || this.#reader === undefined || (this.#arrived.length === 0 && this.#end === undefined)) return;
    this.#reading = true;
    // Each chunk has a turn of its own, as with a real descriptor.
    this.#broker.after(0, () => {
      this.#reading = false;
      this.#read();
      this.#wake();
    });
  }

  #read(): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    if (this.#arrived.length === 0) {
      if (this.#end === undefined) return;
      this.#reader = undefined;
      if (this.#end.error === undefined) reader.complete();
      else reader.error(this.#end.error);
      return;
    }
    const most = Math.min(this.#arrived.length, this.#readBufferSize, this.#wire.deliverable);
    const length = Math.max(1, Math.min(most, Math.floor(this.#split(most))));
    const bytes = this.#arrived.subarray(0, length);
    this.#arrived = this.#arrived.subarray(length);
    if (this.#readBuffer === undefined) {
      reader.next(Uint8Array.from(bytes));
    } else {
      const chunk = this.#readBuffer.subarray(0, bytes.copy(this.#readBuffer));
      reader.next(chunk);
      chunk.fill(0xee);
    }
    this.#wire.delivered(length);
  }
}

class End implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly paced = true;
  readonly volatile: boolean;
  readonly drained: Observable<void>;
  readonly #input: Pipe;
  readonly #output: Pipe;

  constructor(input: Pipe, output: Pipe) {
    this.#input = input;
    this.#output = output;
    this.volatile = input.volatile;
    this.drained = defer(() => output.drained);
    this.chunks = new Observable((subscriber) => input.subscribe(subscriber));
  }

  get pendingBytes(): number {
    return this.#output.pendingBytes;
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    this.#output.write(parts, written);
  }

  end(): void {
    this.#output.end();
  }

  destroy(): void {
    this.#output.abandon();
    this.#input.drop();
  }
}
