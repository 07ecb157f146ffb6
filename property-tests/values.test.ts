import { describe, expect, it } from '@jest/globals';
import * as cborg from 'cborg';
import fc from 'fast-check';
import { DecodeError } from '../src/core/errors.ts';
import { Blob } from '../src/core/wire/blob.ts';
import { CallError } from '../src/core/wire/call-error.ts';
import type { ErrorContent } from '../src/core/wire/call-error.ts';
import { ATTACHMENT_THRESHOLD } from '../src/core/wire/limits.ts';
import { Secret } from '../src/core/wire/secret.ts';
import { decodeValue, encodeValue } from '../src/core/wire/values.ts';
import { NEIGHBOUR, canonical, memoryOf, overTheWire, withinTheProcess } from '../test/support/values.ts';
import { check } from './support.ts';

/** Texts of any planes; lone surrogates cannot be UTF-8 and are another test's matter. */
const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.string({ unit: 'binary-ascii', maxLength: 300 }), fc.string({ unit: 'grapheme-composite', maxLength: 20 }));
const key = fc.oneof(text, fc.constantFrom('', 'constructor', 'toString', 'toJSON', 'hasOwnProperty', 'then', 'length', '__proto', '0', '-1', '01')).filter((name) => name !== '__proto__');
/** Negative zero arrives as zero, as with JSON. */
const number = fc.oneof(fc.double().filter((value) => !Object.is(value, -0)), fc.maxSafeInteger(), fc.integer(), fc.constantFrom(23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53, -(2 ** 31), -(2 ** 32), -(2 ** 53), 2 ** 64));
const finite = number.filter(Number.isFinite);

function json(scalar: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 5, depthIdentifier: 'json' }, scalar, fc.array(tie('value'), { maxLength: 5 }), fc.dictionary(key, tie('value'), { maxKeys: 5 })),
  })).value as fc.Arbitrary<unknown>;
}

const errorContent = fc
  .array(fc.tuple(text, text, text, fc.option(text)), { minLength: 1, maxLength: 5 })
  .map((chain) => chain.reduceRight<ErrorContent | null>((cause, error) => [...error, cause], null) ?? (['', '', '', null, null] as const));
const bytes = fc.uint8Array({ maxLength: 70 });
const large = fc.integer({ min: 0, max: 3 }).map((extra) => Buffer.alloc(ATTACHMENT_THRESHOLD + extra, 'a large one '));
const typed = fc.oneof(fc.int8Array(), fc.uint8ClampedArray(), fc.int16Array(), fc.uint16Array(), fc.int32Array(), fc.uint32Array(), fc.float32Array(), fc.float64Array(), fc.bigInt64Array(), fc.bigUint64Array());
/** Dates travel as seconds in a double: exact to the millisecond for 139,000 years around 1970. */
const date = fc.date({ noInvalidDate: false, min: new Date(-4e15), max: new Date(4e15) });
const longInteger = fc.bigInt({ min: -(2n ** 8192n), max: 2n ** 8192n - 1n });
const scalar = fc.oneof(
  { weight: 6, arbitrary: fc.oneof(number, text, fc.boolean(), fc.constantFrom(null, undefined)) },
  { weight: 4, arbitrary: fc.oneof(fc.bigInt(), longInteger, date, bytes, bytes.map((found) => Buffer.from(found)), typed) },
  { weight: 2, arbitrary: fc.oneof(bytes.map((found) => Blob.wrap(found)), text.map((found) => new Secret(found)), errorContent.map((found) => new CallError(found))) },
  { weight: 1, arbitrary: fc.oneof(large, large.map((found) => Blob.wrap(found)), large.map((found) => new Uint16Array(Uint8Array.from(found.subarray(0, ATTACHMENT_THRESHOLD)).buffer))) },
);
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'value' },
    scalar,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(key, tie('value'), { maxKeys: 5 }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((pairs) => new Map(pairs)),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => new Set(items)),
  ),
})).value as fc.Arbitrary<unknown>;

/** The value, or the DecodeError that it was refused with; anything else fails the test. */
function tryDecode(data: Uint8Array): unknown {
  try {
    return decodeValue(data);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return error;
  }
}

/** With the keys of objects in that codec's order: shorter ones first, in bytes. */
function sortedKeys(sent: unknown): unknown {
  if (Array.isArray(sent)) return sent.map(sortedKeys);
  if (typeof sent !== 'object' || sent === null) return sent;
  const entries = Object.entries(sent).map(([name, item]) => [Buffer.from(name), name, sortedKeys(item)] as const);
  entries.sort(([a], [b]) => a.length - b.length || a.compare(b));
  return Object.fromEntries(entries.map(([, name, item]) => [name, item]));
}

describe('values', () => {
  it('come back as they were, over the wire and within the process (REFERENCE 50-63)', () => {
    check(
      fc.property(value, fc.boolean(), (sent, volatile) => {
        expect(canonical(overTheWire(sent, volatile))).toEqual(canonical(sent));
        expect(canonical(withinTheProcess(sent))).toEqual(canonical(sent));
      }),
      250,
    );
  });

  it('are not changed by being sent, and share no memory with what arrives', () => {
    check(
      fc.property(value, (sent) => {
        const before = canonical(sent);
        const arrived = withinTheProcess(sent);
        const theirs = new Set(memoryOf(sent));
        for (const memory of memoryOf(arrived)) {
          expect(theirs.has(memory)).toBe(false);
          new Uint8Array(memory).fill(0);
        }
        expect(canonical(sent)).toEqual(before);
      }),
    );
  });

  it('never give access to the memory of neighbouring frames', () => {
    check(
      fc.property(value, fc.boolean(), (sent, volatile) => {
        for (const memory of memoryOf(overTheWire(sent, volatile))) expect(Buffer.from(memory).includes(NEIGHBOUR)).toBe(false);
      }),
    );
  });

  it('are read by an independent codec as they were, when they are like JSON', () => {
    check(
      fc.property(json(fc.oneof(finite, text, fc.boolean(), fc.constant(null))), (sent) => {
        expect(canonical(cborg.decode(Uint8Array.from(encodeValue(sent).data)))).toEqual(canonical(sent));
      }),
      300,
    );
  });

  it('are read as they were when an independent codec wrote them, when they are like JSON', () => {
    // An integer of eight bytes is a bigint with us; that codec writes numbers so.
    const short = finite.filter((found) => !Number.isInteger(found) || (found >= -(2 ** 32) && found < 2 ** 32));
    check(
      fc.property(json(fc.oneof(short, text, fc.boolean(), fc.constant(null))), (sent) => {
        expect(canonical(decodeValue(cborg.encode(sent)))).toEqual(canonical(sortedKeys(sent)));
      }),
      300,
    );
  });
});

describe('hostile bytes', () => {
  it('never do more than fail with a DecodeError, when they are random', () => {
    check(
      fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
        tryDecode(data);
        expect(decodeValue(encodeValue({ still: ['well', 1n] }).data)).toEqual({ still: ['well', 1n] });
      }),
      2000,
    );
  });

  it('never do more than fail with a DecodeError, when they are good ones with a few changes', () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    check(
      fc.property(value, fc.array(change, { minLength: 1, maxLength: 6 }), fc.option(fc.nat()), (sent, changes, end) => {
        const { data, tail = [] } = encodeValue(sent);
        const bad = Uint8Array.from(Buffer.concat([data, ...tail]));
        for (const [at, byte] of changes) bad[at % bad.length] = byte;
        tryDecode(end === null ? bad : bad.subarray(0, end % bad.length));
        expect(decodeValue(encodeValue({ still: ['well', 1n] }).data)).toEqual({ still: ['well', 1n] });
      }),
      500,
    );
  });

  it('never become a value when they are cut short or have more behind them', () => {
    check(
      fc.property(value, fc.nat(), (sent, at) => {
        const { data, tail = [] } = encodeValue(sent);
        const whole = Buffer.concat([data, ...tail]);
        expect(() => decodeValue(whole.subarray(0, at % whole.length))).toThrow(DecodeError);
        expect(() => decodeValue(Buffer.concat([whole, Buffer.of(0)]))).toThrow(DecodeError);
      }),
      300,
    );
  });

  it('are refused when what they announce is far more than what they have', () => {
    const heads = fc.constantFrom(0x5a, 0x5b, 0x7a, 0x7b, 0x9a, 0x9b, 0xba, 0xbb, 0xda, 0xdb);
    check(
      fc.property(heads, fc.uint8Array({ minLength: 8, maxLength: 40 }), (head, rest) => {
        const before = process.memoryUsage();
        const data = Uint8Array.of(head, ...rest);
        data[1] = (data[1] ?? 0) | 0x80;
        expect(tryDecode(data)).toBeInstanceOf(DecodeError);
        const after = process.memoryUsage();
        expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(64 * 1024 * 1024);
      }),
      300,
    );
  });
});
