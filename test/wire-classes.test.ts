import { inspect } from 'node:util';
import vm from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { ChannelError, DecodeError, EncodeError, FrameTooLargeError, TendrilError, UsageError, isError, messageOf } from '../src/core/errors.ts';
import { Blob } from '../src/core/wire/blob.ts';
import { CallError, errorContent } from '../src/core/wire/call-error.ts';
import { MAX_CAUSES, MAX_ERROR_MESSAGE, MAX_ERROR_STACK } from '../src/core/wire/limits.ts';
import { Secret } from '../src/core/wire/secret.ts';
import { deadError } from '../src/core/wire/values.ts';
import { overTheWire } from './support/values.ts';

/** How many errors a chain of causes has. */
function chainLength(error: unknown): number {
  return isError(error) ? 1 + chainLength(error.cause) : 0;
}

function chain(length: number): Error {
  let error = new Error('first');
  for (let count = 1; count < length; count++) error = new Error(`after ${String(count)}`, { cause: error });
  return error;
}

describe('Blob', () => {
  const blob = Blob.wrap(Buffer.alloc(128, 'x'));

  it('prints as its size, wherever it is printed (REFERENCE 77)', () => {
    const printed = '[blob: 128 bytes]';
    expect([String(blob), inspect(blob), JSON.stringify({ blob }), inspect({ deep: [blob] })]).toEqual([printed, printed, `{"blob":"${printed}"}`, `{ deep: [ ${printed} ] }`]);
  });

  it('behaves as bytes, over the memory that it wraps', () => {
    expect(blob).toBeInstanceOf(Uint8Array);
    expect(blob.length).toBe(128);
    expect(blob.slice(0, 2)).toEqual(Uint8Array.of(120, 120));
    expect(Object.getPrototypeOf(blob.map((byte) => byte + 1))).toBe(Uint8Array.prototype);
    const memory = Buffer.alloc(3);
    Blob.wrap(memory)[1] = 7;
    expect(memory[1]).toBe(7);
  });

  it.each([0, 5])('keeps type and bytes over the wire: %d bytes (REFERENCE 59)', (length) => {
    const arrived = overTheWire(Blob.wrap(Buffer.alloc(length, 1)));
    expect(arrived).toBeInstanceOf(Blob);
    expect((arrived as Blob).length).toBe(length);
  });
});

describe('Secret', () => {
  const secret = new Secret('hunter2');

  it('prints as [secret], wherever it is printed', () => {
    const texts = [String(secret), secret.toString(), `a ${secret as unknown as string}`, inspect(secret), inspect({ a: [secret] }, { showHidden: true, depth: 9 }), JSON.stringify({ secret }), inspect(new Map([[secret, secret]])), String([secret]), inspect(new Error('x', { cause: secret }))];
    for (const text of texts) {
      expect(text).toContain('[secret]');
      expect(text).not.toContain('hunter2');
    }
    expect(Object.keys(secret)).toEqual([]);
    expect(Object.assign({}, secret)).toEqual({});
  });

  it.each(['', 'hunter2', 'x'.repeat(100_000)])('reveals its text after the wire as before it (REFERENCE 60)', (text) => {
    const arrived = overTheWire([new Secret(text)]) as [Secret];
    expect(arrived[0]).toBeInstanceOf(Secret);
    expect(arrived[0].reveal()).toBe(text);
    expect(inspect(arrived)).toBe('[ [secret] ]');
  });
});

describe('CallError', () => {
  it('has the name, message, stack, code and causes of what was thrown (REFERENCE 82, 83)', () => {
    const cause = Object.assign(new RangeError('too far'), { code: 'E_FAR' });
    const error = Object.assign(new TypeError('not so', { cause }), { code: 'E_NOT' });
    const arrived = overTheWire(error) as CallError;
    expect(arrived).toBeInstanceOf(CallError);
    expect(arrived).toBeInstanceOf(Error);
    expect([arrived.remoteName, arrived.message, arrived.remoteStack, arrived.code]).toEqual(['TypeError', 'not so', error.stack, 'E_NOT']);
    expect(arrived.cause).toMatchObject({ remoteName: 'RangeError', message: 'too far', code: 'E_FAR', remoteStack: cause.stack });
    expect(arrived.stack).toBe(`CallError: ${error.stack ?? ''}`);
    expect(inspect(arrived)).toContain('TypeError: not so');
  });

  it('stays the same over several hops', () => {
    const once = overTheWire(new TypeError('x', { cause: new Error('y') })) as CallError;
    const twice = overTheWire(once) as CallError;
    expect([twice.remoteName, twice.message, twice.remoteStack, twice.code, (twice.cause as CallError).message]).toEqual([once.remoteName, once.message, once.remoteStack, once.code, 'y']);
    const wrapped = overTheWire(new Error('around', { cause: once })) as CallError;
    expect(wrapped.cause).toMatchObject({ remoteName: 'TypeError', remoteStack: once.remoteStack });
  });

  it('has long texts cut, which is never fatal (REFERENCE 84)', () => {
    const error = Object.assign(new Error('m'.repeat(MAX_ERROR_MESSAGE + 7)), { stack: 's'.repeat(MAX_ERROR_STACK + 9), name: 'n'.repeat(10_000), code: 'c'.repeat(10_000) });
    const arrived = overTheWire(error) as CallError;
    expect(arrived.message).toBe(`${'m'.repeat(MAX_ERROR_MESSAGE)} ... [7 characters cut]`);
    expect(arrived.remoteStack).toBe(`${'s'.repeat(MAX_ERROR_STACK)} ... [9 characters cut]`);
    expect([arrived.remoteName.length, arrived.code.length].every((length) => length < 400)).toBe(true);
  });

  it('has its causes cut at the limit, also when it was made by hand or causes itself', () => {
    expect(chainLength(overTheWire(chain(MAX_CAUSES + 5)))).toBe(MAX_CAUSES);
    const own = new CallError(errorContent(new Error('top')));
    own.cause = chain(MAX_CAUSES + 5);
    expect(chainLength(overTheWire(own))).toBe(MAX_CAUSES);
    const circle = new Error('round');
    circle.cause = circle;
    expect(chainLength(overTheWire(circle))).toBe(MAX_CAUSES);
  });

  it.each<[string, () => unknown, Partial<CallError>]>([
    ['a text', () => 'just a text', { remoteName: 'Error', message: 'just a text', remoteStack: '' }],
    ['undefined', () => undefined, { message: 'undefined' }],
    ['an object', () => ({ code: 5 }), { message: '[object Object]' }],
    ['an object without a prototype', () => Object.create(null) as unknown, { message: 'an error that cannot be shown' }],
    ['a symbol', () => Symbol('s'), { message: 'Symbol(s)' }],
    ['an error with a number as code', () => Object.assign(new Error('m'), { code: 5 }), { message: 'm', code: 'ERR_TENDRIL_CALL' }],
    ['an error whose properties throw', () => Object.create(Error.prototype, Object.fromEntries(['message', 'stack', 'name', 'code', 'cause'].map((name) => [name, { get: () => { throw new Error('no'); } }]))) as unknown, { message: '', remoteName: 'Error' }],
  ])('is made of whatever was thrown: %s', (_name, thrown, expected) => {
    expect(new CallError(errorContent(thrown()))).toMatchObject(expected);
  });

  it('is made of errors of another realm', () => {
    const foreign = vm.runInNewContext('Object.assign(new RangeError("far away", { cause: new TypeError("why") }), { code: "E_FAR" })') as unknown;
    expect(foreign instanceof Error).toBe(false);
    expect(isError(foreign)).toBe(true);
    const [name, message, stack, code, cause] = errorContent(foreign);
    expect([name, message, code, cause?.[0], cause?.[1]]).toEqual(['RangeError', 'far away', 'E_FAR', 'TypeError', 'why']);
    expect(stack).toContain('RangeError: far away');
  });
});

describe('errors of this library', () => {
  it('are recognised by their brand, also from another copy of it', () => {
    const error = new EncodeError('args[0]', 'a function');
    expect([error instanceof EncodeError, error instanceof TendrilError, error instanceof Error, error instanceof DecodeError]).toEqual([true, true, true, false]);
    // The brand is all that another copy shares with this one.
    const copy = Object.defineProperty(new Error('x'), Symbol.for('tendril.error'), { value: ['EncodeError', 'TendrilError'] });
    expect([copy instanceof EncodeError, copy instanceof TendrilError, copy instanceof ChannelError]).toEqual([true, true, false]);
    for (const other of [null, undefined, 'x', {}, new Error('x')]) expect(other instanceof TendrilError).toBe(false);
  });

  it('have a name, a stable code and a message that tells what to do', () => {
    const errors = [new FrameTooLargeError(5, 4), new EncodeError('args[0]', 'a function'), new DecodeError('why'), new ChannelError('closed', ''), new UsageError('ERR_TENDRIL_X', 'do it so')];
    expect(errors.map(({ name, code }) => [name, code])).toEqual([
      ['FrameTooLargeError', 'ERR_TENDRIL_MESSAGE_TOO_LARGE'],
      ['EncodeError', 'ERR_TENDRIL_ENCODE'],
      ['DecodeError', 'ERR_TENDRIL_DECODE'],
      ['ChannelError', 'ERR_TENDRIL_CHANNEL'],
      ['UsageError', 'ERR_TENDRIL_X'],
    ]);
    for (const error of errors) expect(inspect(error).startsWith(`${error.name}: ${error.message}`)).toBe(true);
  });

  it('give a text for whatever was thrown', () => {
    expect([messageOf(new Error('m')), messageOf('t'), messageOf(null), messageOf(Object.create(null))]).toEqual(['m', 't', 'null', 'an error that cannot be shown']);
  });
});

describe('the error of a dead message', () => {
  it.each<[string, string, string]>([
    ['no-route: no route to 5, my ID is 0', 'no-route', 'no route to 5, my ID is 0'],
    ['closed', 'closed', 'closed'],
    ['error: a: b', 'error', 'a: b'],
    ['Something else: x', 'error', 'Something else: x'],
    ['', 'error', 'error'],
    ['größer', 'error', 'größer'],
  ])('%j', (data, reason, message) => {
    const error = deadError(Buffer.from(data));
    expect(error).toBeInstanceOf(ChannelError);
    expect([error.reason, error.message]).toEqual([reason, message]);
  });

  it('is never longer than 4 KiB, whatever a hostile peer sends', () => {
    expect(deadError(Buffer.alloc(1_000_000, 'x')).message.length).toBeLessThanOrEqual(4096);
    expect(deadError(Buffer.alloc(100, 0xff)).reason).toBe('error');
  });
});
