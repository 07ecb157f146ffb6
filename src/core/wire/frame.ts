import { FrameTooLargeError } from '../errors.ts';

/** Bytes of a frame header: `dst_id u16, src_id u16, handle u32, reply_to u32, length u32`, big-endian. */
export const HEADER_LENGTH = 16;

/** `reply_to` of a dead message: nothing more will come, and the data is the reason. */
export const IS_DEAD = 999;

/** Bytes of the largest frame that is sent: as many as one read of a pipe gives, so that most frames arrive in one piece. */
export const MAX_FRAME: number = 64 * 1024;
/** Bytes of its payload: a larger one is cut into fragments. */
export const MAX_PAYLOAD: number = MAX_FRAME - HEADER_LENGTH;

/** Bit of {@link Message.part}, and bit 31 of the length on the wire: more fragments of the same message follow. */
export const MORE = 2;
/** Bit 30: this is not the first fragment. */
export const CONTINUES = 1;
/** The rest of that field. */
const LENGTH_BITS = 0x3fff_ffff;
/** Bytes at the beginning of the first fragment that say how many bytes the whole payload has. */
export const TOTAL_LENGTH = 4;

/** Default of the largest payload of one message, in bytes (128 MiB). */
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
  /** What a fragment of a larger message is: {@link MORE}, {@link CONTINUES} or both. 0, or not there, for a whole one. */
  readonly part?: number;
  /** Where the whole frame lies, header included, when it was received: forwarding copies it as it is. */
  readonly buffer?: Buffer;
  readonly start?: number;
  readonly end?: number;
  /** Gives the memory of a received frame back to who reads its link: nobody looks at it any more. */
  release?(): void;
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
  target.writeUInt32BE(length + (message.part ?? 0) * 2 ** 30, offset + 12);
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
  readonly part: number;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  #spare: Buffer[] | undefined;

  constructor(buffer: Buffer, start: number, end: number, spare?: Buffer[]) {
    this.#spare = spare;
    this.dstId = (buffer[start] ?? 0) * 256 + (buffer[start + 1] ?? 0);
    this.srcId = (buffer[start + 2] ?? 0) * 256 + (buffer[start + 3] ?? 0);
    this.handle = buffer.readUInt32BE(start + 4);
    this.replyTo = buffer.readUInt32BE(start + 8);
    this.part = (buffer[start + 12] ?? 0) >> 6;
    this.buffer = buffer;
    this.start = start;
    this.end = end;
  }

  get data(): Uint8Array {
    return this.buffer.subarray(this.start + HEADER_LENGTH, this.end);
  }

  release(): void {
    // It has no length when it went to another thread.
    if (this.#spare && this.#spare.length < MAX_SPARE && this.buffer.length === MAX_FRAME) this.#spare.push(this.buffer);
    this.#spare = undefined;
  }
}

/** Frames whose memory waits to be used again: as many as may be under way on two links. */
const MAX_SPARE = 8;
/** Bytes from which a frame gets memory for the largest size, which can be used again. */
const POOLED: number = 48 * 1024;

/** Payload length of the frame whose header is at `start`. */
function lengthAt(buffer: Buffer, start: number): number {
  return buffer.readUInt32BE(start + 12) & LENGTH_BITS;
}

const NOTHING = Buffer.alloc(0);

/** Cuts a byte stream into messages, whatever the chunks look like. A length over the limit throws before anything is allocated. */
export class FrameDecoder {
  readonly #limit: number;
  /** The frame under way: its bytes so far, header included. */
  #partial: Buffer = NOTHING;
  #have = 0;
  /** How many it will have, or those of its header. */
  #need = 0;
  #failure: FrameTooLargeError | undefined;
  /** Memory of full frames that was given back: V8 lets tens of MiB of such garbage pile up before it looks. */
  readonly #spare: Buffer[] = [];

  /** @param limit - bytes of the largest payload of a frame */
  constructor(limit: number = MAX_PAYLOAD) {
    this.#limit = limit;
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
      const length = lengthAt(source, offset);
      if (length > this.#limit && (offset > runStart || messages.length > 0)) {
        // What came before it is not to be lost.
        this.#failure = new FrameTooLargeError(length, this.#limit);
        this.#run(source, runStart, offset, volatile, messages);
        return messages;
      }
      this.#check(length);
      const end = offset + HEADER_LENGTH + length;
      if (end > source.length) break;
      if (volatile && length >= OWN_BUFFER_THRESHOLD) {
        this.#run(source, runStart, offset, volatile, messages);
        const own = this.#memory(end - offset);
        source.copy(own, 0, offset, end);
        messages.push(new ReceivedMessage(own, 0, end - offset, this.#spare));
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
    if (length > this.#limit) throw new FrameTooLargeError(length, this.#limit);
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
      const next = at + HEADER_LENGTH + lengthAt(buffer, at);
      messages.push(new ReceivedMessage(buffer, at, next));
      at = next;
    }
  }

  #begin(source: Buffer, offset: number): void {
    const rest = source.length - offset;
    this.#partial = this.#memory((this.#need = rest < HEADER_LENGTH ? HEADER_LENGTH : HEADER_LENGTH + lengthAt(source, offset)));
    source.copy(this.#partial, 0, offset);
    this.#have = rest;
  }

  /** Continues the frame under way; gives the offset after it, or -1 when the chunk did not complete it. */
  #resume(source: Buffer, messages: Message[]): number {
    let offset = 0;
    if (this.#have < HEADER_LENGTH) {
      offset = source.copy(this.#partial, this.#have, 0, HEADER_LENGTH - this.#have);
      this.#have += offset;
      if (this.#have < HEADER_LENGTH) return -1;
      const length = lengthAt(this.#partial, 0);
      this.#check(length);
      const header = this.#partial;
      this.#partial = this.#memory((this.#need = HEADER_LENGTH + length));
      header.copy(this.#partial, 0, 0, HEADER_LENGTH);
    }
    const copied = source.copy(this.#partial, this.#have, offset, offset + this.#need - this.#have);
    this.#have += copied;
    if (this.#have < this.#need) return -1;
    messages.push(new ReceivedMessage(this.#partial, 0, this.#have, this.#spare));
    this.#reset();
    return offset + copied;
  }

  #memory(bytes: number): Buffer {
    if (bytes < POOLED || bytes > MAX_FRAME) return Buffer.allocUnsafeSlow(bytes);
    // Whoever gets a view of the frame gets at all of its memory.
    return (this.#spare.pop() ?? Buffer.allocUnsafeSlow(MAX_FRAME)).fill(0, bytes);
  }

  /** The memory of a frame may be given to another thread. */
  #reset(): void {
    this.#partial = NOTHING;
    this.#have = 0;
  }
}
