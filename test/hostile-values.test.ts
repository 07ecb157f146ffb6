import { describe, expect, it } from '@jest/globals';
import { Encoder } from '../src/core/wire/cbor.ts';
import { DecodeError } from '../src/core/errors.ts';
import { MAX_BIGINT_BYTES, MAX_DEPTH } from '../src/core/wire/limits.ts';
import { decodeValue, encodeValue } from '../src/core/wire/values.ts';

/** Head of a CBOR item with an argument of any size. */
function head(major: number, argument: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = (major << 5) | 27;
  bytes.writeBigUInt64BE(BigInt(argument), 1);
  return bytes;
}

const tag = (number: number, ...content: Uint8Array[]): Buffer => Buffer.concat([head(6, number), ...content]);
const array = (...items: Uint8Array[]): Buffer => Buffer.concat([head(4, items.length), ...items]);
const text = (value: string): Buffer => Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
const bytes = (length: number): Buffer => Buffer.concat([head(2, length), Buffer.alloc(length, 0xff)]);
const uint = (value: number): Buffer => Buffer.from([0x1a, value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);
const ONE = Buffer.from([1]);
const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex');

/** Twenty arrays, each of which holds the one before it ten times, by reference. */
function referenceBomb(): Buffer {
  let bomb = tag(28, array(text('x')));
  for (let level = 0; level < 20; level++) bomb = tag(28, array(bomb, ...Array.from({ length: 9 }, () => tag(29, uint(20 - level)))));
  return bomb;
}

// Each of these does harm in cbor-x, or may in a later version of it (spikes/child-runtime, section 7.4).
const HOSTILE: Readonly<Record<string, Uint8Array>> = {
  'tag 27 that builds a RegExp': tag(27, array(text('RegExp'), text('(a+)+$'), text(''))),
  'tag 27 that builds an Error': tag(27, array(text('Error'), text('boo'))),
  'tag 27 that builds a boxed String': tag(27, array(text('String'), text('boo'))),
  'tag 28 around an array that contains itself by tag 29': tag(28, array(tag(29, uint(0)))),
  'tag 29 without anything that it refers to': tag(29, uint(0)),
  'a bomb of references': referenceBomb(),
  'an inline record (0xdfff)': hex('df ff 83 61 61 61 62 01'),
  'a record definition (0xdffe)': hex('df fe 82 81 61 61 19 e0 00'),
  'a record by tag 105': tag(105, array(uint(57344), array(text('a')), ONE)),
  'a record ID (tag 0xe000) that nobody defined': tag(0xe000, array(ONE)),
  'tag 0x53687264, which asks for internals': tag(0x53687264, array(ONE, ONE)),
  'a bigint of 200 KB': tag(2, bytes(200_000)),
  'a negative bigint of 200 KB': tag(3, bytes(200_000)),
  'a bigint one byte over the limit': tag(2, hex('59 0401'), Buffer.alloc(MAX_BIGINT_BYTES + 1, 0xff)),
  'a bigint that is a text': tag(2, text('1')),
  'packed values by tag 51': tag(51, array(array(text('a')), array(), array(), tag(6, ONE))),
  'a packed reference by tag 6': tag(6, ONE),
  'a packed prefix by tag 225': tag(225, array(text('a'), text('b'))),
  'a simple value that refers to packed ones': hex('e0'),
  'bundled strings by tag 0xdff9': tag(0xdff9, uint(0)),
  'arrays 100,000 deep': Buffer.concat([Buffer.alloc(100_000, 0x81), ONE]),
  'objects 100,000 deep': Buffer.concat([...Array.from({ length: 100_000 }, () => hex('a1 61 61')), ONE]),
  'tags 100,000 deep': Buffer.concat([Buffer.alloc(200_000, Buffer.from('d9d995', 'hex')), hex('40')]),
  'sets 100,000 deep': Buffer.concat([Buffer.alloc(400_000, Buffer.from('d9010281', 'hex')), ONE]),
  'one level over the limit': Buffer.concat([Buffer.alloc(MAX_DEPTH + 1, 0x81), ONE]),
  'an array head of 4 G items': hex('9a ff ff ff ff 01'),
  'an array head of 2^63 items': hex('9b 80 00 00 00 00 00 00 00 01'),
  'a map head of 4 G items': hex('ba ff ff ff ff 61 61 01'),
  'a map head of 2^63 items': hex('bb 80 00 00 00 00 00 00 00 61 61 01'),
  'a text head of 4 GiB': hex('7a ff ff ff ff 61'),
  'a byte string head of 2^63': hex('5b 80 00 00 00 00 00 00 00 61'),
  'a million arrays of a million items each': Buffer.concat([hex('9a 00 0f 42 40'), Buffer.alloc(5_000_000, hex('9a 00 0f 42 40'))]),
  'an object with the key __proto__': hex('a1 69 5f5f70726f746f5f5f a1 61 78 01'),
  'an object with the key __proto__, its length in eight bytes': Buffer.concat([hex('a1'), text('__proto__'), hex('a1 61 78 01')]),
  'an object with a number as key': hex('a1 01 01'),
  'an object with an array as key': hex('a1 81 01 01'),
  'an array of indefinite length': hex('9f 01 ff'),
  'a map of indefinite length': hex('bf 61 61 01 ff'),
  'a text of indefinite length': hex('7f 61 61 ff'),
  'a byte string of indefinite length': hex('5f 41 61 ff'),
  'a lone break': hex('ff'),
  'a reserved length': hex('1c'),
  'a simple value in two bytes': hex('f8 20'),
  'a date that is a text': tag(1, text('2020-01-01')),
  'a date that is a bigint': tag(1, hex('1b ff ff ff ff ff ff ff ff')),
  'a date by tag 0': tag(0, text('2020-01-01T00:00:00Z')),
  'a date by tag 100': tag(100, uint(1)),
  'a regular expression by tag 35': tag(35, text('(a+)+$')),
  'a URL by tag 32': tag(32, text('file:///etc/passwd')),
  'a typed array by tag 70': tag(70, bytes(8)),
  'embedded CBOR by tag 24': tag(24, bytes(3)),
  'a set that is not an array': tag(258, ONE),
  'a map that is not a map': tag(259, array()),
  'a map of indefinite length in a tag': tag(259, hex('bf 01 01 ff')),
  'a blob that is a text': tag(55701, text('x')),
  'a blob in a blob in a blob': tag(55701, tag(55701, tag(55701, bytes(1)))),
  'a secret that is a number': tag(55702, ONE),
  'an error that is a text': tag(55703, text('x')),
  'an error with a number as message': tag(55703, array(text('E'), ONE, text(''), hex('f6'), hex('f6'))),
  'an error with too many causes': tag(55703, Array.from({ length: 9 }).reduce<Buffer>((cause) => array(text('E'), text('m'), text('s'), hex('f6'), cause), hex('f6'))),
  'a typed array of an unknown kind': tag(55704, array(uint(99), bytes(8))),
  'a typed array with half an item': tag(55704, array(uint(6), bytes(7))),
  'a typed array of a text': tag(55704, array(uint(6), text('12345678'))),
  'a context where nobody can make one': tag(55705, array(ONE, text('x'))),
  'a sender where nobody can make one': tag(55706, array(ONE, ONE)),
  'an attachment that is not there': tag(55700, uint(100)),
  'an attachment of 2^63 bytes': tag(55700, hex('1b 80 00 00 00 00 00 00 00')),
  'an attachment of a negative length': tag(55700, hex('20')),
  'attachments that share their bytes': Buffer.concat([array(tag(55700, uint(3)), tag(55700, uint(3))), Buffer.from('abc')]),
  'two items': hex('01 01'),
  'nothing': Buffer.alloc(0),
};

describe('decoding refuses what is hostile, with a DecodeError and at once (REFERENCE 65, 68, 76)', () => {
  it.each(Object.entries(HOSTILE))('%s', (_name, payload) => {
    expect(() => decodeValue(payload)).toThrow(DecodeError);
    // It has left nothing behind in the codec.
    expect(decodeValue(encodeValue({ a: 1, b: [2n, new Map([[1, 'x']])] }).data)).toEqual({ a: 1, b: [2n, new Map([[1, 'x']])] });
  });

  it('also within other values', () => {
    for (const payload of Object.values(HOSTILE)) {
      if (payload.length > 100_000) continue;
      expect(() => decodeValue(Buffer.concat([hex('82 01'), payload]))).toThrow(DecodeError);
    }
  });

  it('never shows the payload in the error (REFERENCE 3)', () => {
    for (const payload of Object.values(HOSTILE)) {
      try {
        decodeValue(payload);
      } catch (error) {
        expect((error as Error).message).toMatch(/^the payload is not valid: [a-z0-9 _]+$/);
      }
    }
  });

  it('takes the deepest and longest that is allowed', () => {
    expect(() => decodeValue(Buffer.concat([Buffer.alloc(MAX_DEPTH, 0x81), ONE]))).not.toThrow();
    expect(decodeValue(tag(2, hex('59 0400'), Buffer.alloc(MAX_BIGINT_BYTES, 0xff)))).toBe(2n ** BigInt(8 * MAX_BIGINT_BYTES) - 1n);
  });

  it('never lets a property through to Object.prototype', () => {
    expect(() => decodeValue(hex('a1 6b 636f6e7374727563746f72 a1 69 70726f746f74797065 a1 61 78 01'))).not.toThrow();
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });

  it('keeps no structure from one message to the next, as an Encoder that decodes would', () => {
    const definition = hex('df ff 84 19 e0 00 82 61 61 61 62 01 02');
    const use = tag(0xe000, array(ONE, ONE));
    const naive = new Encoder({});
    try {
      naive.decode(definition);
    } catch {
      // What matters is what it has learned from it.
    }
    for (let round = 0; round < 2; round++) {
      expect(() => decodeValue(definition)).toThrow(DecodeError);
      expect(() => decodeValue(use)).toThrow(DecodeError);
    }
  });
});
