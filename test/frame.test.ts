import { describe, expect, it } from '@jest/globals';
import { FrameTooLargeError } from '../src/core/errors.ts';
import { CONTINUES, DEFAULT_MAX_MESSAGE_SIZE, FrameDecoder, HEADER_LENGTH, IS_DEAD, MAX_PAYLOAD, MORE, OWN_BUFFER_THRESHOLD, encodeFrame } from '../src/core/wire/frame.ts';
import type { Message } from '../src/core/wire/frame.ts';

const hello: Message = { dstId: 0x0102, srcId: 0x0304, handle: 0x05060708, replyTo: 0x090a0b0c, data: Buffer.from('hello') };

function one(bytes: Uint8Array): Message {
  const [message] = new FrameDecoder().push(bytes, false);
  if (message === undefined) throw new Error('no message');
  return message;
}

describe('a frame', () => {
  it('has a header of 16 bytes: dst u16, src u16, handle u32, reply_to u32, length u32, big-endian (REFERENCE 37-46)', () => {
    expect(HEADER_LENGTH).toBe(16);
    expect(encodeFrame(hello).toString('hex')).toBe('01020304' + '05060708' + '090a0b0c' + '00000005' + '68656c6c6f');
  });

  it('has nothing but the header when it has no payload (REFERENCE 38)', () => {
    expect(encodeFrame({ dstId: 1, srcId: 0, handle: 106, replyTo: 0, data: Buffer.alloc(0) }).toString('hex')).toBe('0001' + '0000' + '0000006a' + '00000000' + '00000000');
  });

  it('marks a dead message by reply_to 999, with the reason as UTF-8 (REFERENCE 47, 48)', () => {
    expect(IS_DEAD).toBe(999);
    const bytes = encodeFrame({ dstId: 2, srcId: 1, handle: 0x10000001, replyTo: IS_DEAD, data: Buffer.from('no-route: größer') });
    expect(bytes.toString('hex', 0, 16)).toBe('0002' + '0001' + '10000001' + '000003e7' + '00000012');
    expect(one(bytes)).toMatchObject({ replyTo: 999 });
    expect(Buffer.from(one(bytes).data).toString('utf8')).toBe('no-route: größer');
  });

  it('keeps every field, up to the largest values', () => {
    const largest: Message = { dstId: 0xffff, srcId: 0xffff, handle: 0xffff_ffff, replyTo: 0xffff_ffff, data: Buffer.from([255]) };
    expect(one(encodeFrame(largest))).toMatchObject({ dstId: 0xffff, srcId: 0xffff, handle: 0xffff_ffff, replyTo: 0xffff_ffff });
  });

  it('counts the parts of its payload as one length', () => {
    const bytes = encodeFrame({ ...hello, tail: [Buffer.from(', '), Buffer.from('world')] });
    expect(bytes.readUInt32BE(12)).toBe(12);
    expect(Buffer.from(one(bytes).data).toString()).toBe('hello, world');
  });

  it('passes through byte for byte', () => {
    const bytes = encodeFrame(hello);
    expect(encodeFrame(one(bytes)).equals(bytes)).toBe(true);
  });
});

describe('FrameDecoder', () => {
  it('has a default limit of 64 KiB, header included: what is larger comes in fragments, up to 128 MiB by default', () => {
    expect(DEFAULT_MAX_MESSAGE_SIZE).toBe(134_217_728);
    const header = encodeFrame({ ...hello, data: Buffer.alloc(0) });
    header.writeUInt32BE(64 * 1024 - HEADER_LENGTH, 12);
    expect(new FrameDecoder().push(header, false)).toEqual([]);
    header.writeUInt32BE(64 * 1024 - HEADER_LENGTH + 1, 12);
    expect(() => new FrameDecoder().push(header, false)).toThrow(FrameTooLargeError);
  });

  it('tells fragments by the first two bits of the length', () => {
    const bytes = encodeFrame({ ...hello, part: MORE | CONTINUES });
    expect(bytes.readUInt32BE(12)).toBe(0xc000_0005);
    expect(one(bytes)).toMatchObject({ part: MORE | CONTINUES });
    expect(Buffer.from(one(bytes).data).toString()).toBe('hello');
    expect(encodeFrame(one(bytes)).equals(bytes)).toBe(true);
  });

  it('names both sizes and the remedy when a frame is too large (REFERENCE 16)', () => {
    const decoder = new FrameDecoder(4);
    expect(() => decoder.push(encodeFrame(hello), false)).toThrow(/message too large \(5 bytes, max 4 bytes\).*maxMessageSize/);
    expect(() => new FrameDecoder(4).push(encodeFrame(hello), false)).toThrow(expect.objectContaining({ code: 'ERR_TENDRIL_MESSAGE_TOO_LARGE' }));
  });

  it('keeps no memory of a frame that it has given, which may go to another thread', () => {
    const bytes = encodeFrame({ ...hello, data: Buffer.alloc(50_000, 7) });
    const decoder = new FrameDecoder();
    decoder.push(bytes.subarray(0, 20_000), true);
    const [message] = decoder.push(bytes.subarray(20_000), true);
    const memory = message?.buffer?.buffer as ArrayBuffer;
    structuredClone(memory, { transfer: [memory] });
    expect(decoder.takeRemainder()).toHaveLength(0);
  });

  it('finds the limit exceeded in a header that comes in two pieces', () => {
    const decoder = new FrameDecoder(4);
    const bytes = encodeFrame(hello);
    expect(decoder.push(bytes.subarray(0, 13), true)).toEqual([]);
    expect(() => decoder.push(bytes.subarray(13, 16), true)).toThrow(FrameTooLargeError);
  });

  it.each([OWN_BUFFER_THRESHOLD, OWN_BUFFER_THRESHOLD * 3])('gives a volatile payload of %d bytes memory that holds nothing else', (length) => {
    const chunk = Buffer.concat([encodeFrame(hello), encodeFrame({ ...hello, data: Buffer.alloc(length, 7) }), encodeFrame(hello)]);
    const [, large] = new FrameDecoder().push(chunk, true);
    expect(large?.data.length).toBe(length);
    const memory = Buffer.from(large?.data.buffer ?? new ArrayBuffer(0));
    expect(memory.subarray(HEADER_LENGTH, HEADER_LENGTH + length).every((byte) => byte === 7)).toBe(true);
    expect(memory.subarray(HEADER_LENGTH + length).every((byte) => byte === 0)).toBe(true);
  });

  it('shows nothing of a released frame to who gets its memory next', () => {
    const decoder = new FrameDecoder();
    const [secret] = decoder.push(encodeFrame({ ...hello, data: Buffer.alloc(MAX_PAYLOAD, 9) }), true);
    secret?.release?.();
    const [next] = decoder.push(encodeFrame({ ...hello, data: Buffer.alloc(50_000, 7) }), true);
    expect(next?.buffer).toBe(secret?.buffer);
    expect(Buffer.from(next?.data.buffer ?? new ArrayBuffer(0)).includes(9, HEADER_LENGTH)).toBe(false);
  });
});
