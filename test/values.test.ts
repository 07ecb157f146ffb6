import net from 'node:net';
import { inspect } from 'node:util';
import vm from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { DecodeError, EncodeError } from '../src/core/errors.ts';
import { Blob } from '../src/core/wire/blob.ts';
import { ATTACHMENT_THRESHOLD, MAX_BIGINT_BYTES, MAX_DEPTH, MAX_ITEMS } from '../src/core/wire/limits.ts';
import { Secret } from '../src/core/wire/secret.ts';
import { decodeValue, encodeEnvelope, encodeValue } from '../src/core/wire/values.ts';
import { NEIGHBOUR, memoryOf, overTheWire, withinTheProcess } from './support/values.ts';

/** The EncodeError that a value is refused with. */
function refusal(value: unknown): { path: string; message: string } {
  try {
    encodeValue(value);
  } catch (error) {
    if (error instanceof EncodeError) return { path: error.path, message: error.message };
    throw error;
  }
  throw new Error('it was not refused');
}

/** `leaf` in as many of the innermost of `wrap`. */
function nested(levels: number, leaf: unknown, wrap: (inner: unknown) => unknown = (inner) => [inner]): unknown {
  let value = leaf;
  for (let level = 0; level < levels; level++) value = wrap(value);
  return value;
}

class Point {
  readonly x = 1;
}

describe('encoding refuses what cannot be sent, and says where it is', () => {
  const cycle: Record<string, unknown> = { a: 1 };
  cycle['list'] = [0, cycle];
  const thrower = Object.defineProperty({}, 'b', { enumerable: true, get: () => { throw new Error('no'); } });
  const REFUSED: Readonly<Record<string, readonly [value: unknown, path: string, what: RegExp]>> = {
    'a function': [() => 1, 'value', /a function/],
    'a function in an object': [{ a: { handler: function onData() { /* nothing */ } } }, 'value.a.handler', /a function \(onData\); send data/],
    'a class': [[Point], 'value[0]', /a function \(Point\)/],
    'an instance of a class': [{ at: [1, new Point()] }, 'value.at[1]', /an instance of Point; send a plain object/],
    'a socket': [{ socket: new net.Socket() }, 'value.socket', /an instance of Socket/],
    'a promise': [[Promise.resolve(1)], 'value[0]', /an instance of Promise/],
    'a regular expression': [{ pattern: /x/ }, 'value.pattern', /an instance of RegExp/],
    'a boxed text': [[Object('x')], 'value[0]', /an instance of String/],
    'a weak map': [[new WeakMap()], 'value[0]', /an instance of WeakMap/],
    'a URL': [{ to: new URL('http://x/') }, 'value.to', /an instance of URL/],
    'a symbol': [{ kind: Symbol('x') }, 'value.kind', /a symbol/],
    'a cycle': [cycle, 'value.list[1]', /a cycle/],
    'a cycle through a map': [((map: Map<unknown, unknown>) => map.set('self', [map]))(new Map()), 'value.self[0]', /a cycle/],
    'a cycle through a set': [((set: Set<unknown>) => set.add({ set }))(new Set()), 'value["(item)"].set', /a cycle/],
    'a getter that throws': [{ a: thrower }, 'value.a.b', /throws when it is read/],
    'a generator': [{ *[Symbol.iterator]() { yield 1; } }, 'value', /an iterable object/],
    'the key __proto__': [JSON.parse('{"a":{"__proto__":1}}'), 'value.a', /__proto__/],
    'a bigint that is too long': [{ n: [2n ** BigInt(8 * MAX_BIGINT_BYTES)] }, 'value.n[0]', /a bigint of over 1024 bytes/],
    'a negative bigint that is too long': [-(2n ** BigInt(8 * MAX_BIGINT_BYTES)) - 1n, 'value', /a bigint of over 1024 bytes/],
    'a key that is no identifier': [{ 'a b': { '0x': () => 1 } }, 'value["a b"]["0x"]', /a function/],
    'something in a map': [new Map([['key', () => 1]]), 'value.key', /a function/],
    'something under a key that is no text': [new Map([[{ a: 1 }, () => 1]]), 'value["(value)"]', /a function/],
    'a key of a map': [new Map([[() => 1, 1]]), 'value["(key)"]', /a function/],
    'something of another realm': [vm.runInNewContext('({ list: [() => 1] })'), 'value.list[0]', /a function/],
    'too many levels': [nested(MAX_DEPTH + 1, 1), `value${'[0]'.repeat(MAX_DEPTH)}`, /more than 128 levels/],
    'an array that is too long': [{ a: Array.from({ length: MAX_ITEMS + 1 }).fill(0) }, 'value.a', /more than 2097152 items/],
    'a sparse array of 4 G items': [{ a: new Array(4_294_967_295) }, 'value.a', /more than 2097152 items/],
    'too many items in all': [Array.from({ length: 3 }).fill(Array.from({ length: MAX_ITEMS / 2 }).fill('x')), 'value[1]', /items/],
  };

  it.each(Object.entries(REFUSED))('%s', (_name, [value, path, what]) => {
    const found = refusal(value);
    expect(found.message).toMatch(what);
    if (path !== 'value[1]') expect(found.path).toBe(path);
  });

  it('names the root that it is given, and the value within an envelope of ours', () => {
    expect(() => encodeValue([1, { f: () => 1 }], 'args')).toThrow(/^args\[1\]\.f cannot be sent: a function/);
    expect(() => encodeEnvelope(['chain', 'module', [0, () => 1]], 2, 'args')).toThrow(/^args\[1\] cannot be sent/);
  });

  it('works as before after every refusal', () => {
    for (const [value] of Object.values(REFUSED)) {
      refusal(value);
      expect(withinTheProcess({ a: [1, 'x'] })).toEqual({ a: [1, 'x'] });
    }
  });
});

describe('what is sent', () => {
  it.each([
    ['arrays', (inner: unknown) => [inner]],
    ['objects', (inner: unknown) => ({ inner })],
    ['maps', (inner: unknown) => new Map([['inner', inner]])],
    ['sets', (inner: unknown) => new Set([inner])],
  ])('can be read at the other end whenever it can be sent, up to the limit of levels: %s', (_name, wrap) => {
    const leaves = [1, 2n ** 70n, new Date(0), new Secret('x'), Buffer.alloc(ATTACHMENT_THRESHOLD), Blob.wrap(Buffer.alloc(ATTACHMENT_THRESHOLD)), new Float64Array(2), new Error('x'), new Map(), new Set()];
    for (const leaf of leaves) {
      for (let levels = MAX_DEPTH - 12; levels <= MAX_DEPTH + 1; levels++) {
        let encoded;
        try {
          encoded = encodeValue(nested(levels, leaf, wrap));
        } catch (error) {
          expect(error).toBeInstanceOf(EncodeError);
          continue;
        }
        const { data, tail } = encoded;
        expect(() => decodeValue(data, tail ?? [])).not.toThrow();
      }
    }
  });

  it.each<[string, unknown, number]>([
    ['bigints', 2n ** 70n, 2],
    ['dates', new Date(0), 2],
    ['typed arrays', new Int8Array(1), 4],
    ['empty maps', new Map(), 2],
    ['blobs', Blob.wrap(Buffer.alloc(1)), 2],
  ])('counts items as the other end does: %s', (_name, item, count) => {
    const some = Array.from<unknown>({ length: 1000 }).fill(item);
    const fitting = [...some, ...Array.from({ length: MAX_ITEMS - 1 - 1000 * count }).fill(0)];
    const { data } = encodeValue(fitting);
    expect((decodeValue(data) as unknown[]).length).toBe(fitting.length);
    expect(() => encodeValue([...fitting, 0])).toThrow(EncodeError);
  });

  it('may come from another realm', () => {
    const value = vm.runInNewContext(
      '({ date: new Date(5), map: new Map([[1, { a: [1] }]]), set: new Set([[2]]), bytes: new Uint8Array([1, 2]), doubles: new Float64Array([0.5]), array: [{ b: 1 }], error: new RangeError("far") })',
    ) as Record<string, unknown>;
    const arrived = overTheWire(value) as Record<string, unknown>;
    expect(arrived).toMatchObject({ date: new Date(5), map: new Map([[1, { a: [1] }]]), set: new Set([[2]]), array: [{ b: 1 }] });
    expect([...(arrived['bytes'] as Uint8Array)]).toEqual([1, 2]);
    expect([...(arrived['doubles'] as Float64Array)]).toEqual([0.5]);
    expect(arrived['error']).toMatchObject({ remoteName: 'RangeError', message: 'far' });
  });

  it('may have getters, also ones that send something themselves', () => {
    const sent: unknown[] = [];
    const value = {
      before: [1],
      get loud() {
        sent.push(withinTheProcess({ note: 'read', big: Buffer.alloc(ATTACHMENT_THRESHOLD) }));
        return 'here';
      },
      behind: new Date(0),
    };
    expect(overTheWire({ value, more: 'x' })).toEqual({ value: { before: [1], loud: 'here', behind: new Date(0) }, more: 'x' });
    expect(overTheWire({ plain: { get loud() { encodeValue('something'); return 1; }, other: 2 } })).toEqual({ plain: { loud: 1, other: 2 } });
    expect(sent.length).toBeGreaterThan(0);
    for (const each of sent) expect(each).toEqual({ note: 'read', big: Buffer.alloc(ATTACHMENT_THRESHOLD) });
  });

  it('leaves out what JSON leaves out, and keeps undefined', () => {
    const hidden = Object.defineProperty({ a: undefined, [Symbol('s')]: 1 }, 'h', { value: 1 });
    const arrived = overTheWire(hidden) as object;
    expect(Object.keys(arrived)).toEqual(['a']);
  });

  it('has integers as they were: numbers as numbers, bigints as bigints', () => {
    for (const value of [0, -1, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 53), 0n, 1n, -1n, 2n ** 53n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 64n)]) expect(overTheWire([value])).toEqual([value]);
  });
});

describe('bytes', () => {
  it.each([0, 100, ATTACHMENT_THRESHOLD - 1, ATTACHMENT_THRESHOLD, 100_000])('never show neighbouring frames through .buffer: %d bytes', (length) => {
    for (const volatile of [false, true]) {
      const value = { bytes: Buffer.alloc(length, 7), blob: Blob.wrap(Buffer.alloc(length, 8)), list: [new Int8Array(length).fill(9)] };
      const arrived = overTheWire(value, volatile) as typeof value;
      expect(arrived.bytes.equals(value.bytes)).toBe(true);
      expect(arrived.blob).toBeInstanceOf(Blob);
      expect(arrived.blob.every((byte) => byte === 8)).toBe(true);
      expect(arrived.list[0]?.every((byte) => byte === 9)).toBe(true);
      for (const memory of memoryOf(arrived)) expect(Buffer.from(memory).includes(NEIGHBOUR)).toBe(false);
    }
  });

  it('share memory with nothing else in the process, also when a hostile peer announces short attachments', () => {
    const item = Buffer.from('82d9d99403d9d99404', 'hex');
    for (const arrived of [decodeValue(Buffer.concat([item, Buffer.from('abcdefg')])), decodeValue(item, [Buffer.from('abc'), Buffer.from('defg')])]) {
      expect(memoryOf(arrived).map((memory) => memory.byteLength)).toEqual([3, 4]);
    }
  });

  it('travel beside the CBOR item, uncopied, from 16 KiB on', () => {
    const bytes = Buffer.alloc(ATTACHMENT_THRESHOLD);
    const { data, tail } = encodeValue([bytes, bytes.subarray(1)]);
    expect(tail?.map((part) => part.length)).toEqual([ATTACHMENT_THRESHOLD]);
    expect(tail?.[0]?.buffer).toBe(bytes.buffer);
    expect(data.length).toBeLessThan(ATTACHMENT_THRESHOLD + 20);
    expect(() => decodeValue(data)).toThrow(DecodeError);
  });

  it('arrive as a Buffer from a Uint8Array, an ArrayBuffer and a DataView', () => {
    const memory = Uint8Array.of(1, 2, 3).buffer;
    for (const value of [new Uint8Array(memory), memory, new DataView(memory)]) {
      const arrived = overTheWire(value);
      expect(Buffer.isBuffer(arrived)).toBe(true);
      expect([...(arrived as Buffer)]).toEqual([1, 2, 3]);
    }
  });

  it('keep the type and the order of their attachments', () => {
    const fill = (byte: number): Buffer => Buffer.alloc(ATTACHMENT_THRESHOLD, byte);
    const value = { z: fill(1), 5: new Uint16Array(fill(2).buffer), a: [new Map([[fill(3), Blob.wrap(fill(4))]])], s: new Set([fill(5)]) };
    const arrived = overTheWire(value) as typeof value;
    const [[key, blob]] = [...(arrived.a.flatMap((map) => [...map]))] as [[Buffer, Blob]];
    expect([arrived.z[0], arrived[5][0], key[0], blob[0], [...arrived.s][0]?.[0]]).toEqual([1, 0x0202, 3, 4, 5]);
    expect(inspect(arrived[5]).startsWith('Uint16Array')).toBe(true);
  });
});
