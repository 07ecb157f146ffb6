import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { ChannelError, DecodeError } from '../src/core/errors.ts';
import { Joiner } from '../src/core/routing/joiner.ts';
import { Blob } from '../src/core/wire/blob.ts';
import { CallError } from '../src/core/wire/call-error.ts';
import type { ErrorContent } from '../src/core/wire/call-error.ts';
import { FrameDecoder, IS_DEAD, encodeFrame } from '../src/core/wire/frame.ts';
import type { Message } from '../src/core/wire/frame.ts';
import { Secret } from '../src/core/wire/secret.ts';
import { TAG_CONTEXT, TAG_SENDER, TAG_STREAM, WIRE } from '../src/core/wire/tags.ts';
import type { Wired } from '../src/core/wire/tags.ts';
import { deadError, decodeValue, encodeValue } from '../src/core/wire/values.ts';
import { unpackRecords } from '../src/importer/batch.ts';
import type { Reviver } from '../src/core/wire/revival.ts';

interface Fields {
  readonly dstId: number;
  readonly srcId: number;
  readonly handle: number;
  readonly replyTo: number;
  readonly part?: number;
}

/** An entry of docs/golden-vectors.json. `form` tells how the bytes are made. */
type Vector = { readonly name: string; readonly description: string; readonly hex: string } & (
  | { readonly form: 'text'; readonly text: string }
  | { readonly form: 'length'; readonly length: number }
  | { readonly form: 'message'; readonly message: Fields; readonly value?: unknown; readonly data?: string; readonly inflated?: unknown }
  | { readonly form: 'dead'; readonly message: Fields; readonly reason: string; readonly text: string }
  | { readonly form: 'value'; readonly value: unknown; readonly decoded?: unknown; readonly zeros?: number }
);

const file = (name: string): string => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8');
const vectors = JSON.parse(file('golden-vectors.json')) as readonly Vector[];

/** A context or a sender as the other side would make it; here only its numbers matter. */
class Reference implements Wired {
  readonly tag: number;
  readonly content: readonly [number, number | string];

  constructor(tag: number, content: readonly [number, number | string]) {
    this.tag = tag;
    this.content = content;
  }

  [WIRE](): { tag: number; content: unknown } {
    return { tag: this.tag, content: this.content };
  }
}

const reviver: Reviver = {
  context: (id, name) => new Reference(TAG_CONTEXT, [id, name]),
  sender: (contextId, handle) => new Reference(TAG_SENDER, [contextId, handle]),
  stream: (contextId, handle) => new Reference(TAG_STREAM, [contextId, handle]),
};

const TYPED = { Float64Array };

/** What JSON cannot say is written as `{"$": kind, ...}`. */
interface Described {
  readonly $: string;
  readonly text: string;
  readonly iso: string;
  readonly hex: string;
  readonly length: number;
  readonly items: readonly unknown[];
  readonly entries: readonly (readonly [unknown, unknown])[];
  readonly kind: keyof typeof TYPED;
  readonly content: ErrorContent;
  readonly id: number;
  readonly name: string;
  readonly contextId: number;
  readonly handle: number;
}

function build(described: unknown): unknown {
  if (Array.isArray(described)) return described.map(build);
  if (typeof described !== 'object' || described === null) return described;
  if (!('$' in described)) return Object.fromEntries(Object.entries(described).map(([key, value]) => [key, build(value)]));
  const it = described as Described;
  switch (it.$) {
    case 'undefined':
      return undefined;
    case 'number':
      return Number(it.text);
    case 'bigint':
      return BigInt(it.text);
    case 'date':
      return new Date(it.iso);
    case 'bytes':
      return Buffer.from(it.hex, 'hex');
    case 'zeros':
      return Buffer.alloc(it.length);
    case 'blob':
      return new Blob(Buffer.from(it.hex, 'hex'));
    case 'secret':
      return new Secret(it.text);
    case 'set':
      return new Set(it.items.map(build));
    case 'map':
      return new Map(it.entries.map(([key, value]) => [build(key), build(value)]));
    case 'typed':
      return TYPED[it.kind].from(it.items as readonly number[]);
    case 'error':
      return new CallError(it.content);
    case 'context':
      return new Reference(TAG_CONTEXT, [it.id, it.name]);
    case 'sender':
      return new Reference(TAG_SENDER, [it.contextId, it.handle]);
    default:
      throw new Error(`no such kind of value: ${it.$}`);
  }
}

/** The other way round, for what came out of the decoder. */
function describeValue(value: unknown): unknown {
  if (value === undefined) return { $: 'undefined' };
  if (typeof value === 'bigint') return { $: 'bigint', text: String(value) };
  if (typeof value === 'number' && (Number.isNaN(value) || Object.is(value, -0))) return { $: 'number', text: Object.is(value, -0) ? '-0' : 'NaN' };
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(describeValue);
  if (value instanceof Blob) return { $: 'blob', hex: Buffer.from(value).toString('hex') };
  if (value instanceof Float64Array) return { $: 'typed', kind: 'Float64Array', items: [...value] };
  if (value instanceof Uint8Array) return value.every((byte) => byte === 0) ? { $: 'zeros', length: value.length } : { $: 'bytes', hex: Buffer.from(value).toString('hex') };
  if (value instanceof Date) return { $: 'date', iso: value.toISOString() };
  if (value instanceof Secret) return { $: 'secret', text: value.reveal() };
  if (value instanceof Set) return { $: 'set', items: [...(value as Set<unknown>)].map(describeValue) };
  if (value instanceof Map) return { $: 'map', entries: [...(value as Map<unknown, unknown>)].map(describeValue) };
  if (value instanceof CallError) return { $: 'error', content: value[WIRE]().content instanceof Array ? contentOf(value) : undefined };
  if (value instanceof Reference) {
    const [id, second] = value.content;
    return value.tag === TAG_CONTEXT ? { $: 'context', id, name: second } : { $: 'sender', contextId: id, handle: second };
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, describeValue(item)]));
}

function contentOf(error: CallError): ErrorContent {
  return [error.remoteName, error.message, error.remoteStack, error.code, error.cause === undefined ? null : contentOf(error.cause as CallError)];
}

function payload(value: unknown): Uint8Array {
  const { data, tail = [] } = encodeValue(build(value));
  return Buffer.concat([data, ...tail]);
}

/** The payload that a vector describes. */
function payloadOf(vector: Vector): Uint8Array {
  switch (vector.form) {
    case 'text':
      return Buffer.from(vector.text, 'latin1');
    case 'length':
      return Buffer.from([vector.length >>> 24, (vector.length >>> 16) & 255, (vector.length >>> 8) & 255, vector.length & 255]);
    case 'message':
      return vector.data === undefined ? payload(vector.value) : Buffer.from(vector.data, 'hex');
    case 'dead':
      return Buffer.from(`${vector.reason}: ${vector.text}`, 'utf8');
    case 'value':
      return payload(vector.value);
  }
}

/** Everything that is sent: the example, and the attachment that the page does not print. */
function bytesOf(vector: Vector): Buffer {
  return Buffer.concat([Buffer.from(vector.hex, 'hex'), Buffer.alloc(vector.form === 'value' ? (vector.zeros ?? 0) : 0)]);
}

function fieldsOf({ dstId, srcId, handle, replyTo, part }: Message): Fields {
  return { dstId, srcId, handle, replyTo, ...(part && { part }) };
}

describe('golden vectors', () => {
  it('are many, and have names of their own', () => {
    expect(vectors.length).toBeGreaterThan(40);
    expect(new Set(vectors.map(({ name }) => name)).size).toBe(vectors.length);
  });

  it.each(vectors.map((vector) => [vector.name, vector] as const))('%s is what the code sends', (_name, vector) => {
    const data = payloadOf(vector);
    const bytes = 'message' in vector ? encodeFrame({ ...vector.message, data }) : data;
    expect(Buffer.from(bytes).toString('hex')).toBe(bytesOf(vector).toString('hex'));
  });

  it.each(vectors.flatMap((vector) => (vector.form === 'message' || vector.form === 'dead' ? [[vector.name, vector] as const] : [])))('%s is understood as described', (_name, vector) => {
    const bytes = bytesOf(vector);
    for (const volatile of [false, true]) {
      const [message, ...more] = new FrameDecoder().push(bytes, volatile);
      expect(more).toEqual([]);
      if (message === undefined) throw new Error('the frame is not complete');
      expect(fieldsOf(message)).toEqual(vector.message);
      if (vector.form === 'dead') {
        const error = deadError(message.data);
        expect(message.replyTo).toBe(IS_DEAD);
        expect(error).toBeInstanceOf(ChannelError);
        expect(error).toMatchObject({ reason: vector.reason, message: vector.text });
      } else if (vector.data !== undefined) expect(Buffer.from(message.data).toString('hex')).toBe(vector.data);
      else expect(describeValue(decodeValue(message.data, undefined, reviver))).toEqual(vector.value);
    }
  });

  it.each(vectors.flatMap((vector) => (vector.form === 'value' ? [[vector.name, vector] as const] : [])))('%s is understood as described', (_name, vector) => {
    const decoded = describeValue(decodeValue(bytesOf(vector), undefined, reviver));
    expect(decoded).toEqual('decoded' in vector ? vector.decoded : vector.value);
  });

  it('the bytes of load-module inflate to the modules', () => {
    const vector = vectors.find(({ name }) => name === 'load-module');
    if (vector?.form !== 'message') throw new Error('there is no such vector');
    const [, , packed] = vector.value as readonly [unknown, unknown, Described];
    expect(describeValue(unpackRecords(Buffer.from(packed.hex, 'hex')))).toEqual(vector.inflated);
  });

  it('the fragments are the message', () => {
    const joiner = new Joiner(1024);
    const joined = vectors.filter(({ name }) => name.startsWith('fragment-')).map((vector) => joiner.join(new FrameDecoder().push(bytesOf(vector), false)[0]!));
    expect(joined.slice(0, -1)).toEqual([undefined, undefined]);
    expect(decodeValue(joined[2]?.data ?? Buffer.alloc(0))).toBe('hello, fragments');
  });

  it('are refused when a byte is missing', () => {
    for (const vector of vectors) if (vector.form === 'value') expect(() => decodeValue(bytesOf(vector).subarray(0, -1), undefined, reviver)).toThrow(DecodeError);
  });

  it.each(vectors.map((vector) => [vector.name, vector] as const))('%s is in docs/protocol.md', (name, { hex }) => {
    const page = file('protocol.md');
    expect(page).toContain(`\`${name}\``);
    expect(page.replaceAll(/\s/g, '')).toContain(hex);
  });
});
