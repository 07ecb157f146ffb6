import { FrameTooLargeError } from '../errors.ts';

/** Bytes of a frame header: `dst_id u16, src_id u16, handle u32, reply_to u32, length u32`, big-endian. */
export const HEADER_LENGTH = 16;

/** `reply_to` of a dead message: nothing more will come, and the data is the reason. */
export const IS_DEAD = 999;

/** Default of the largest payload of one frame, in bytes (128 MiB). */
export const DEFAULT_MAX_MESSAGE_SIZE: number = 128 * 1024 * 1024;

/** A frame with at least this many bytes of payload gets memory of its own, so that views on it are safe to hand out. */
export const OWN_BUFFER_THRESHOLD: number = 16 * 1024;

/** One message of the stream protocol (seed document, "Stream Protocol"). */
export interface Message {
  /** Context that the message is for. */
  readonly dstId: number;
  /** Context that sent it; verified at every hop. */
  readonly srcId: number;
  /** Mailbox in the destination. */
  readonly handle: number;
  /** Handle in the source for the answer; 0 when none is wanted; {@link IS_DEAD} for a dead message. */
  readonly replyTo: number;
  /** The payload, or its first part when {@link Message.tail} is there. */
  readonly data: Uint8Array;
  /** Further parts of the payload, sent by reference; only on messages made in this context. */
  readonly tail?: readonly Uint8Array[];
  /** Where the whole frame lies, header included, when it was received: forwarding copies it as it is. */
  readonly buffer?: Buffer;
  readonly start?: number;
  readonly end?: number;
}

/** Payload length of a message in bytes. */
export function payloadLength(message: Message): number {
  if (message.buffer !== undefined) return (message.end ?? 0) - (message.start ?? 0) - HEADER_LENGTH;
  let length = message.data.length;
  if (message.tail) for (const part of message.tail) length += part.length;
  return length;
}

/** Writes the header of `message` at `offset` of `target`. */
export function writeHeader(target: Buffer, offset: number, message: Message, length: number): void {
  target.writeUInt16BE(message.dstId, offset);
  target.writeUInt16BE(message.srcId, offset + 2);
  target.writeUInt32BE(message.handle, offset + 4);
  target.writeUInt32BE(message.replyTo, offset + 8);
  target.writeUInt32BE(length, offset + 12);
}

/** The bytes of one frame, in one buffer. */
export function encodeFrame(message: Message): Buffer {
  if (message.buffer !== undefined) return message.buffer.subarray(message.start, message.end);
  const length = payloadLength(message);
  const frame = Buffer.allocUnsafeSlow(HEADER_LENGTH + length);
  writeHeader(frame, 0, message, length);
  frame.set(message.data, HEADER_LENGTH);
  let offset = HEADER_LENGTH + message.data.length;
  for (const part of message.tail ?? []) {
    frame.set(part, offset);
    offset += part.length;
  }
  return frame;
}

/** A message that lies in a received buffer. Views are made when they are asked for: what only passes through needs one. */
class ReceivedMessage implements Message {
  readonly dstId: number;
  readonly srcId: number;
  readonly handle: number;
  readonly replyTo: number;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;

  constructor(buffer: Buffer, start: number, end: number) {
    this.dstId = (buffer[start] ?? 0) * 256 + (buffer[start + 1] ?? 0);
    this.srcId = (buffer[start + 2] ?? 0) * 256 + (buffer[start + 3] ?? 0);
    this.handle = buffer.readUInt32BE(start + 4);
    this.replyTo = buffer.readUInt32BE(start + 8);
    this.buffer = buffer;
    this.start = start;
    this.end = end;
  }

  get data(): Uint8Array {
    return this.buffer.subarray(this.start + HEADER_LENGTH, this.end);
  }
}

function view(buffer: Buffer, start: number, end: number): Message {
  return new ReceivedMessage(buffer, start, end);
}

const NOTHING = Buffer.alloc(0);
/** Room for 1 MiB of payload and what is around it. */
const FIRST_ALLOCATION: number = 1024 * 1024 + 64 * 1024;

/**
 * Cuts a byte stream into messages, whatever the chunks look like.
 *
 * A length over `maxMessageSize` throws before anything is allocated; memory for a long frame grows with the bytes
 * that really arrive, so that an announced length alone costs the receiver at most 1 MiB.
 */
export class FrameDecoder {
  readonly #maxMessageSize: number;
  /** The frame under way: its bytes so far, header included. */
  #partial: Buffer = NOTHING;
  #have = 0;
  /** Whole length of the frame under way, or 0 while its header is not complete. */
  #want = 0;
  #failure: FrameTooLargeError | undefined;

  constructor(maxMessageSize: number = DEFAULT_MAX_MESSAGE_SIZE) {
    this.#maxMessageSize = maxMessageSize;
  }

  /**
   * Takes the next bytes and gives the messages that they complete.
   *
   * @param chunk - the bytes
   * @param volatile - true when `chunk` is only valid during this call (a reused read buffer): then what is kept is copied
   */
  push(chunk: Uint8Array, volatile: boolean): Message[] {
    if (this.#failure) throw this.#failure;
    const messages: Message[] = [];
    const source = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let offset = 0;
    if (this.#have > 0) {
      offset = this.#resume(source, messages);
      if (offset < 0) return messages;
    }
    // The run of complete frames is copied once; frames over the threshold are copied apart, into memory of their own.
    let runStart = offset;
    while (source.length - offset >= HEADER_LENGTH) {
      const length = source.readUInt32BE(offset + 12);
      if (length > this.#maxMessageSize && (offset > runStart || messages.length > 0)) {
        // What came before it is not to be lost.
        this.#failure = new FrameTooLargeError(length, this.#maxMessageSize);
        this.#run(source, runStart, offset, volatile, messages);
        return messages;
      }
      this.#check(length);
      const end = offset + HEADER_LENGTH + length;
      if (end > source.length) break;
      if (volatile && length >= OWN_BUFFER_THRESHOLD) {
        this.#run(source, runStart, offset, volatile, messages);
        const own = Buffer.allocUnsafeSlow(end - offset);
        source.copy(own, 0, offset, end);
        messages.push(view(own, 0, own.length));
        runStart = end;
      }
      offset = end;
    }
    this.#run(source, runStart, offset, volatile, messages);
    if (offset < source.length) this.#begin(source, offset);
    return messages;
  }

  /** Bytes of an incomplete frame; they are forgotten here. For handing a stream over to another thread. */
  takeRemainder(): Buffer {
    const rest = Buffer.from(this.#partial.subarray(0, this.#have));
    this.#reset();
    return rest;
  }

  /** Why nothing more can be decoded, when good messages came before the bad one; otherwise `push` throws at once. */
  get failure(): FrameTooLargeError | undefined {
    return this.#failure;
  }

  /** How many bytes of an incomplete frame are held. */
  get pending(): number {
    return this.#have;
  }

  #check(length: number): void {
    if (length > this.#maxMessageSize) throw new FrameTooLargeError(length, this.#maxMessageSize);
  }

  #run(source: Buffer, start: number, end: number, volatile: boolean, messages: Message[]): void {
    if (end === start) return;
    let buffer = source;
    let shift = 0;
    if (volatile) {
      buffer = Buffer.allocUnsafeSlow(end - start);
      source.copy(buffer, 0, start, end);
      shift = start;
    }
    for (let at = start - shift; at < end - shift; ) {
      const next = at + HEADER_LENGTH + buffer.readUInt32BE(at + 12);
      messages.push(view(buffer, at, next));
      at = next;
    }
  }

  #begin(source: Buffer, offset: number): void {
    const rest = source.length - offset;
    this.#want = 0;
    if (rest >= HEADER_LENGTH) this.#want = HEADER_LENGTH + source.readUInt32BE(offset + 12);
    const size = this.#want === 0 ? HEADER_LENGTH : Math.max(rest, Math.min(this.#want, FIRST_ALLOCATION));
    this.#partial = Buffer.allocUnsafeSlow(size);
    source.copy(this.#partial, 0, offset);
    this.#have = rest;
  }

  /** Continues the frame under way; gives the offset after it, or -1 when the chunk did not complete it. */
  #resume(source: Buffer, messages: Message[]): number {
    let offset = 0;
    if (this.#want === 0) {
      offset = Math.min(HEADER_LENGTH - this.#have, source.length);
      source.copy(this.#partial, this.#have, 0, offset);
      this.#have += offset;
      if (this.#have < HEADER_LENGTH) return -1;
      const length = this.#partial.readUInt32BE(12);
      this.#check(length);
      this.#want = HEADER_LENGTH + length;
      this.#grow(Math.min(this.#want, FIRST_ALLOCATION));
    }
    const take = Math.min(this.#want - this.#have, source.length - offset);
    if (this.#have + take > this.#partial.length) this.#grow(Math.min(this.#want, Math.max(this.#partial.length * 2, this.#have + take)));
    source.copy(this.#partial, this.#have, offset, offset + take);
    this.#have += take;
    offset += take;
    if (this.#have < this.#want) return -1;
    messages.push(view(this.#partial, 0, this.#want));
    this.#reset();
    return offset;
  }

  #grow(size: number): void {
    if (size <= this.#partial.length) return;
    const larger = Buffer.allocUnsafeSlow(size);
    this.#partial.copy(larger, 0, 0, this.#have);
    this.#partial = larger;
  }

  #reset(): void {
    this.#partial = NOTHING;
    this.#have = 0;
    this.#want = 0;
  }
}
