import { types } from 'node:util';
import { ChannelError, DecodeError, EncodeError, isError } from '../errors.ts';
import { errorContent } from './call-error.ts';
import { Decoder, Encoder, Tag } from './cbor.ts';
import { HEADER_LENGTH } from './frame.ts';
import { ATTACHMENT_THRESHOLD, MAX_BIGINT_BYTES, MAX_CAUSES, MAX_DEPTH, MAX_ITEMS } from './limits.ts';
import { Revival, TYPED_ARRAYS } from './revival.ts';
import type { Reviver } from './revival.ts';
import { scan } from './scan.ts';
import { TAG_ATTACHMENT, TAG_BLOB, TAG_CALL_ERROR, TAG_TYPED_ARRAY, WIRE } from './tags.ts';
import type { Destination, Wired } from './tags.ts';

/** Bytes of a value: a CBOR item, and large byte strings that follow it uncopied. */
export interface Encoded {
  readonly data: Uint8Array;
  readonly tail?: readonly Uint8Array[];
}

const OPTIONS = { useRecords: false, mapsAsObjects: true, variableMapSize: true, tagUint8Array: false } as const;
const encoder = new Encoder(OPTIONS);
// A Decoder, never an Encoder: that one would keep structures which a hostile message defines.
const decoder = new Decoder({ ...OPTIONS, copyBuffers: true });

const BIGINT_LIMIT = 1n << BigInt(8 * MAX_BIGINT_BYTES);
const TYPED_NAMES: readonly string[] = TYPED_ARRAYS.map((type) => type.name);

/**
 * Encodes a value. Throws {@link EncodeError} with the path of what cannot be sent.
 *
 * @param value - the value
 * @param root - how the path begins, such as `args`
 * @param to - where it goes; without it a stream cannot be sent
 */
export function encodeValue(value: unknown, root = 'value', to?: Destination): Encoded {
  // One preparation serves all but those that begin inside another, in a getter of the user's.
  const preparation = idle ?? new Preparation();
  idle = undefined;
  const begun = ++encodings;
  try {
    try {
      const encoded = encodePrepared(preparation.begin(root, value, to), preparation, root);
      if (encodings === begun) return encoded;
    } catch (error) {
      if (encodings === begun) throw error;
    }
    // A getter of the user's encoded something meanwhile (it may only have logged), and the codec has but one state.
    return encodePrepared(preparation.begin(root, value, to, true), preparation, root);
  } finally {
    idle = preparation;
  }
}

function encodePrepared(prepared: unknown, preparation: Preparation, root: string): Encoded {
  let data: Uint8Array;
  try {
    data = encoder.encode(prepared);
  } catch (error) {
    throw new EncodeError(root, error instanceof Error ? error.message : 'it could not be encoded');
  }
  return preparation.tail === undefined ? { data } : { data, tail: preparation.tail };
}

/** Encodes an array of our own around a user's value at `index`; paths of errors begin with `root` at that value. */
export function encodeEnvelope(envelope: readonly unknown[], index: number, root: string, to?: Destination): Encoded {
  try {
    return encodeValue(envelope, root, to);
  } catch (error) {
    // The second run finds the same trouble and names it from the user's point of view.
    encodeValue(envelope[index], root, to);
    throw error;
  }
}

let idle: Preparation | undefined;
/** How many encodings have begun. */
let encodings = 0;

function isScalar(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === undefined || value === null;
}

/** Makes a value one that the codec may see, copying only what must change. */
class Preparation {
  tail: Uint8Array[] | undefined;
  #root = '';
  readonly #path: (string | number)[] = [];
  readonly #ancestors: object[] = [];
  #left = 0;
  #to: Destination | undefined;
  #copyAll = false;

  /** @param copyAll - makes the codec read no property of the user's objects */
  begin(root: string, value: unknown, to: Destination | undefined, copyAll = false): unknown {
    this.#to = to;
    this.#copyAll = copyAll;
    this.tail = undefined;
    this.#root = root;
    this.#path.length = 0;
    this.#ancestors.length = 0;
    this.#left = MAX_ITEMS;
    return this.prepare(value);
  }

  prepare(value: unknown): unknown {
    if (--this.#left < 0) throw this.#tooMany();
    switch (typeof value) {
      case 'string':
      case 'number':
      case 'boolean':
      case 'undefined':
        return value;
      case 'bigint':
        if (value >= BIGINT_LIMIT || value < -BIGINT_LIMIT) throw this.#fail(`a bigint of over ${String(MAX_BIGINT_BYTES)} bytes`);
        this.#left--;
        return value;
      case 'object':
        return value === null ? null : this.#object(value);
      case 'function':
        throw this.#fail(`a function (${(value as { name?: string }).name ?? ''}); send data, or export the function and call it by itself`);
      default:
        throw this.#fail(`a ${typeof value}`);
    }
  }

  #fail(what: string): EncodeError {
    let path = this.#root;
    for (const step of this.#path) path += typeof step === 'number' ? `[${String(step)}]` : /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
    return new EncodeError(path, what);
  }

  #object(value: object): unknown {
    if (ArrayBuffer.isView(value)) return this.#bytes(value);
    if (WIRE in value) {
      const { tag, content } = (value as Wired)[WIRE](this.#to);
      return new Tag(this.prepare(content), tag);
    }
    if (this.#ancestors.includes(value)) throw this.#fail('it contains itself (a cycle)');
    if (this.#ancestors.length >= MAX_DEPTH) throw this.#tooDeep();
    this.#ancestors.push(value);
    const prepared = Array.isArray(value) ? this.#array(value) : this.#other(value);
    this.#ancestors.pop();
    if (this.#left < 0) throw this.#tooMany();
    return prepared;
  }

  #tooDeep(): EncodeError {
    return this.#fail(`it is nested more than ${String(MAX_DEPTH)} levels deep`);
  }

  #tooMany(): EncodeError {
    return this.#fail(`it has more than ${String(MAX_ITEMS)} items; send it in parts, or numbers as a typed array`);
  }

  #step(key: string | number, value: unknown): unknown {
    this.#path.push(key);
    const prepared = this.prepare(value);
    this.#path.pop();
    return prepared;
  }

  #array(value: readonly unknown[]): readonly unknown[] {
    // Before the walk: a sparse array may have a length that takes minutes to count to.
    if (value.length > this.#left) throw this.#tooMany();
    // An array of another realm or a subclass would be taken for an iterable by the codec.
    let copy: unknown[] | undefined = value.constructor === Array ? undefined : Array.from(value);
    for (let index = 0; index < value.length; index++) {
      const item = value[index];
      // Most items are scalars; they need no step.
      if (isScalar(item)) {
        this.#left--;
        continue;
      }
      const prepared = this.#step(index, item);
      if (prepared !== item) (copy ??= value.slice())[index] = prepared;
    }
    return copy ?? value;
  }

  #other(value: object): unknown {
    const prototype = Object.getPrototypeOf(value) as object | null;
    // A prototype without a prototype is the Object.prototype of some realm.
    if (prototype === null || Object.getPrototypeOf(prototype) === null) return this.#plain(value as Record<string, unknown>);
    // Tags, and the lists in them, count as the receiver's scan counts them.
    this.#left--;
    if (types.isDate(value)) return new Date(value.getTime());
    if (types.isMap(value)) {
      const copy = new Map<unknown, unknown>();
      for (const [key, item] of value) copy.set(this.#step('(key)', key), this.#step(typeof key === 'string' ? key : '(value)', item));
      return copy;
    }
    if (types.isSet(value)) {
      const copy = new Set<unknown>();
      for (const item of value) copy.add(this.#step('(item)', item));
      return copy;
    }
    if (types.isAnyArrayBuffer(value)) return this.#bytes(new Uint8Array(value));
    if (isError(value)) return new Tag(this.prepare(errorContent(value, MAX_CAUSES)), TAG_CALL_ERROR);
    const name = (value as { constructor?: { name?: string } }).constructor?.name ?? 'unknown';
    throw this.#fail(`an instance of ${name}; send a plain object, such as {...it}`);
  }

  #plain(value: Record<string, unknown>): unknown {
    if (Symbol.iterator in value) throw this.#fail('an iterable object; send an array, such as [...it]');
    let copy: Record<string, unknown> | undefined = this.#copyAll ? {} : undefined;
    for (const key of Object.keys(value)) {
      if (key === '__proto__') throw this.#fail('an object with the key __proto__');
      let item: unknown;
      try {
        item = value[key];
      } catch {
        this.#path.push(key);
        throw this.#fail('a property that throws when it is read');
      }
      this.#left--;
      if (isScalar(item)) {
        this.#left--;
        if (this.#copyAll && copy) copy[key] = item;
        continue;
      }
      const prepared = this.#step(key, item);
      if (prepared !== item || this.#copyAll) (copy ??= { ...value })[key] = prepared;
    }
    return copy ?? value;
  }

  #bytes(value: ArrayBufferView): unknown {
    const typed = value as ArrayBufferView & { [Symbol.toStringTag]?: string; [WIRE]?: () => unknown };
    const bytes = new Uint8Array(value.buffer as ArrayBuffer, value.byteOffset, value.byteLength);
    if (typed[WIRE] !== undefined) {
      this.#left--;
      return new Tag(this.#attach(bytes), TAG_BLOB);
    }
    const name = typed[Symbol.toStringTag];
    if (name === 'Uint8Array' || name === 'DataView' || name === undefined) return this.#attach(bytes);
    const kind = TYPED_NAMES.indexOf(name);
    if (kind < 0) throw this.#fail(`a ${name}`);
    if (this.#ancestors.length >= MAX_DEPTH) throw this.#tooDeep();
    this.#left -= 3;
    return new Tag([kind, this.#attach(bytes)], TAG_TYPED_ARRAY);
  }

  #attach(bytes: Uint8Array): unknown {
    if (bytes.length < ATTACHMENT_THRESHOLD) return bytes;
    this.#left--;
    (this.tail ??= []).push(bytes);
    return new Tag(bytes.length, TAG_ATTACHMENT);
  }
}

/**
 * Decodes a payload. Throws {@link DecodeError} for anything outside the closed set, also when bytes are left over.
 *
 * @param data - the payload, or its first part
 * @param tail - the attachments, when the message never left this process
 * @param reviver - makes contexts and senders; without one they are refused
 */
export function decodeValue(data: Uint8Array, tail?: readonly Uint8Array[], reviver?: Reviver): unknown {
  const found = scan(data);
  const plain = found.end === data.length && tail === undefined && found.attachments.length === 0;
  const attachments = plain ? NO_ATTACHMENTS : cutAttachments(data, found.end, found.attachments, tail);
  let value: unknown;
  try {
    value = decodeItem(data, found.end);
  } catch {
    throw new DecodeError('the codec refused it');
  }
  return found.revive ? new Revival(attachments, reviver).revive(value) : value;
}

const NO_ATTACHMENTS: readonly Uint8Array[] = [];
const scratch = Buffer.allocUnsafeSlow(4096);
// The declarations do not list the second parameter.
const decodeTo = decoder as unknown as { decode(source: Uint8Array, end: number): unknown };

/** The codec makes a DataView for every buffer that it has not seen, which costs more than a small item: it sees one. */
function decodeItem(data: Uint8Array, end: number): unknown {
  if (data.length > scratch.length) return decodeTo.decode(data, end);
  scratch.set(data);
  return decodeTo.decode(scratch, end);
}

function cutAttachments(data: Uint8Array, end: number, lengths: readonly number[], tail?: readonly Uint8Array[]): Uint8Array[] {
  const found: Uint8Array[] = [];
  if (tail !== undefined) {
    for (const [index, length] of lengths.entries()) {
      const part = tail[index];
      if (part?.length !== length) throw new DecodeError('an attachment has another length than announced');
      found.push(copyOf(part));
    }
    if (tail.length !== lengths.length || end !== data.length) throw new DecodeError('bytes are left over');
    return found;
  }
  // Memory of its own, of a frame with its header or of one that was joined of fragments, can be handed out; a part of a
  // read buffer is copied.
  const own = [0, HEADER_LENGTH].includes(data.buffer.byteLength - data.length);
  let at = end;
  for (const length of lengths) {
    if (length > data.length - at) throw new DecodeError('it is cut short');
    const part = Buffer.from(data.buffer as ArrayBuffer, data.byteOffset + at, length);
    found.push(own ? part : copyOf(part));
    at += length;
  }
  if (at !== data.length) throw new DecodeError('bytes are left over');
  return found;
}

/** A copy in memory of its own: `Buffer.from` would put a short one beside other things of this process. */
function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

/** The error that a dead message stands for. Its data is `code` or `code: text`. */
export function deadError(data: Uint8Array): ChannelError {
  const text = Buffer.from(data.buffer, data.byteOffset, Math.min(data.length, 4096)).toString('utf8');
  const colon = text.indexOf(': ');
  const code = colon < 0 ? text : text.slice(0, colon);
  return /^[a-z-]{1,32}$/.test(code) ? new ChannelError(code, colon < 0 ? '' : text.slice(colon + 2)) : new ChannelError('error', text);
}
