import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { OutBatch } from '../src/core/broker/out-batch.ts';
import { FrameTooLargeError } from '../src/core/errors.ts';
import { FrameDecoder, HEADER_LENGTH, MAX_PAYLOAD, OWN_BUFFER_THRESHOLD, encodeFrame, payloadLength } from '../src/core/wire/frame.ts';
import type { Message } from '../src/core/wire/frame.ts';
import { check, cut } from './support.ts';

const id = fc.integer({ min: 0, max: 0xffff });
const handle = fc.oneof(fc.constantFrom(0, 1, 101, 999, 0xffff_ffff), fc.integer({ min: 0, max: 0xffff_ffff }));
/** Mostly small, sometimes around the size from which a frame gets memory of its own, sometimes over the first allocation. */
const size = fc.oneof(
  { weight: 12, arbitrary: fc.integer({ min: 0, max: 64 }) },
  { weight: 3, arbitrary: fc.integer({ min: OWN_BUFFER_THRESHOLD - 2, max: OWN_BUFFER_THRESHOLD + 2 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1024 * 1024 - 20, max: 1024 * 1024 + 20 }) },
);
const PATTERN = Uint8Array.from({ length: 251 }, (_, index) => index * 7);
const payload = fc.tuple(size, fc.nat(200)).map(([length, first]): Uint8Array => Buffer.alloc(length, PATTERN.subarray(first)));
const message: fc.Arbitrary<Message> = fc.record({ dstId: id, srcId: id, handle, replyTo: handle, data: payload });
const messages = fc.array(message, { maxLength: 12 });
const places = fc.array(fc.nat(), { maxLength: 40 });
const LIMIT = 2 * 1024 * 1024;

/** What of a message counts; its bytes as a digest, which is quick to compare. */
function contents({ dstId, srcId, handle: number, replyTo, data, tail = [] }: Message): unknown[] {
  const digest = createHash('sha1');
  for (const part of [data, ...tail]) digest.update(part);
  return [dstId, srcId, number, replyTo, digest.digest('hex')];
}

/** Decodes pieces; in volatile mode each piece is destroyed as soon as it was pushed. */
function decode(decoder: FrameDecoder, pieces: readonly Uint8Array[], volatile: boolean): unknown[] {
  const found: Message[] = [];
  for (const piece of pieces) {
    const chunk = Uint8Array.from(piece);
    found.push(...decoder.push(chunk, volatile));
    if (volatile) chunk.fill(0xee);
  }
  return found.map(contents);
}

describe('framing', () => {
  it('gives the same messages however the bytes are split, from volatile chunks or not (REFERENCE 255)', () => {
    check(
      fc.property(messages, places, fc.boolean(), (sent, at, volatile) => {
        const bytes = Buffer.concat(sent.map(encodeFrame));
        const decoder = new FrameDecoder(LIMIT);
        expect(decode(decoder, cut(bytes, at), volatile)).toEqual(sent.map(contents));
        expect(decoder.pending).toBe(0);
      }),
      150,
    );
  });

  it('uses the memory of released frames again, and never that of others', () => {
    // Around the size from which memory is used again, and the largest.
    const length = fc.oneof(fc.integer({ min: 48 * 1024 - 20, max: 48 * 1024 + 4 }), fc.integer({ min: 60_000, max: MAX_PAYLOAD }), fc.constant(MAX_PAYLOAD), fc.nat(40));
    const frame = fc.record({ length, first: fc.nat(200), released: fc.boolean() });
    check(
      fc.property(fc.array(frame, { maxLength: 24 }), fc.integer({ min: 20, max: 200_000 }), fc.boolean(), (frames, piece, volatile) => {
        const sent = frames.map(({ length: bytes, first }): Message => ({ dstId: 1, srcId: 2, handle: 3, replyTo: 0, data: Buffer.alloc(bytes, PATTERN.subarray(first)) }));
        const bytes = Buffer.concat(sent.map(encodeFrame));
        const decoder = new FrameDecoder();
        const kept: [number, Message][] = [];
        let count = 0;
        for (let at = 0; at < bytes.length; at += piece) {
          const chunk = Uint8Array.from(bytes.subarray(at, at + piece));
          for (const found of decoder.push(chunk, volatile)) {
            const index = count++;
            expect(contents(found)).toEqual(contents(sent[index]!));
            if (frames[index]?.released === true) found.release?.();
            else kept.push([index, found]);
          }
          if (volatile) chunk.fill(0xee);
        }
        expect(count).toBe(sent.length);
        for (const [index, found] of kept) expect(contents(found)).toEqual(contents(sent[index]!));
      }),
      100,
    );
  });

  it('gives the same messages byte by byte', () => {
    check(
      fc.property(fc.array(message.filter(({ data }) => data.length <= 64), { maxLength: 6 }), fc.boolean(), (sent, volatile) => {
        const bytes = Buffer.concat(sent.map(encodeFrame));
        const pieces = Array.from(bytes, (_, index) => bytes.subarray(index, index + 1));
        expect(decode(new FrameDecoder(LIMIT), pieces, volatile)).toEqual(sent.map(contents));
      }),
    );
  });

  it('gives nothing more for a truncated frame, and hands its bytes over for another decoder to go on', () => {
    check(
      fc.property(messages, message, fc.nat(), places, fc.boolean(), (sent, last, at, split, volatile) => {
        const frame = encodeFrame(last);
        const kept = at % frame.length;
        const bytes = Buffer.concat([...sent.map(encodeFrame), frame.subarray(0, kept)]);
        const decoder = new FrameDecoder(LIMIT);
        expect(decode(decoder, cut(bytes, split), volatile)).toEqual(sent.map(contents));
        expect(decoder.pending).toBe(kept);
        const next = new FrameDecoder(LIMIT);
        const rest = decode(next, [decoder.takeRemainder(), frame.subarray(kept)], volatile);
        expect(rest).toEqual([contents(last)]);
        expect(decoder.pending).toBe(0);
      }),
    );
  });

  it('refuses a frame over the limit at its header, with memory for no more than the header', () => {
    check(
      fc.property(fc.integer({ min: 0, max: 4096 }), fc.integer({ min: 1, max: 0x3fff_ffff - 4096 }), places, fc.boolean(), (limit, over, at, volatile) => {
        const header = encodeFrame({ dstId: 1, srcId: 2, handle: 3, replyTo: 4, data: Buffer.alloc(0) });
        header.writeUInt32BE(limit + over, 12);
        const decoder = new FrameDecoder(limit);
        const before = process.memoryUsage().arrayBuffers;
        expect(() => decode(decoder, cut(header, at), volatile)).toThrow(FrameTooLargeError);
        expect(decoder.pending).toBeLessThanOrEqual(HEADER_LENGTH);
        // What was announced is up to 1 GiB; what other work of this process allocates meanwhile is not.
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
      }),
    );
  });

  it('takes a frame of exactly the limit', () => {
    check(
      fc.property(message, places, (sent, at) => {
        expect(decode(new FrameDecoder(sent.data.length), cut(encodeFrame(sent), at), true)).toEqual([contents(sent)]);
      }),
    );
  });
});

describe('OutBatch', () => {
  /** Messages made here, some with parts by reference, and runs of received ones that only pass through. */
  const own = fc.tuple(message, fc.array(payload, { maxLength: 2 })).map(([made, tail]): Message => (tail.length > 0 ? { ...made, tail } : made));
  const received = fc.tuple(fc.array(message, { minLength: 1, maxLength: 5 }), fc.boolean()).map(([made, volatile]) => new FrameDecoder(LIMIT).push(Buffer.concat(made.map(encodeFrame)), volatile));
  const pushes = fc.array(fc.oneof(own.map((made) => [made]), received), { maxLength: 10 });

  it('writes every message once and in order, also those that pass through, and counts its bytes', () => {
    check(
      fc.property(fc.array(fc.tuple(pushes, fc.boolean()), { maxLength: 4 }), places, (turns, at) => {
        const batch = new OutBatch();
        const written: Uint8Array[] = [];
        let pending: Uint8Array[] = [];
        const expected: unknown[] = [];
        for (const [groups, reuse] of turns) {
          for (const each of groups.flat()) {
            batch.push(each);
            expected.push(contents(each));
          }
          const { bytes } = batch;
          const parts = batch.take();
          expect(parts.reduce((sum, part) => sum + part.length, 0)).toBe(bytes);
          expect(batch.bytes).toBe(0);
          pending.push(...parts);
          if (!reuse) continue;
          // The operating system has taken all of them; their memory is used again.
          written.push(Buffer.concat(pending));
          pending = [];
          batch.reuse();
        }
        written.push(...pending);
        expect(decode(new FrameDecoder(0xffff_ffff), cut(Buffer.concat(written), at), true)).toEqual(expected);
      }),
    );
  });

  it('measures a payload alike when it is made, received or passed on', () => {
    check(
      fc.property(own, (made) => {
        const [back] = new FrameDecoder(0xffff_ffff).push(encodeFrame(made), true);
        expect(back && payloadLength(back)).toBe(payloadLength(made));
      }),
    );
  });
});
