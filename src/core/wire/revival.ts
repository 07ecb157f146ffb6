import { DecodeError } from '../errors.ts';
import { Blob } from './blob.ts';
import { CallError } from './call-error.ts';
import type { ErrorContent } from './call-error.ts';
import { Tag } from './cbor.ts';
import { FIRST_DYNAMIC_HANDLE, FIRST_RESERVED_HANDLE, LAST_RESERVED_HANDLE } from './handles.ts';
import { MAX_CAUSES } from './limits.ts';
import { Secret } from './secret.ts';
import { TAG_ATTACHMENT, TAG_BLOB, TAG_CALL_ERROR, TAG_CONTEXT, TAG_SECRET, TAG_SENDER, TAG_STREAM, TAG_TYPED_ARRAY } from './tags.ts';

/** Those that have a kind on the wire, which is the index. */
export const TYPED_ARRAYS = [Int8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array] as const;

/** What decoding needs of the context that it happens in. */
export interface Reviver {
  context(id: number, name: string): unknown;
  sender(contextId: number, handle: number): unknown;
  /** In a child it comes with the importer. */
  stream?: (contextId: number, handle: number) => unknown;
}

/** Makes of what the codec has decoded what its tags stand for. */
export class Revival {
  readonly #attachments: readonly Uint8Array[];
  readonly #reviver: Reviver | undefined;
  #next = 0;

  constructor(attachments: readonly Uint8Array[], reviver: Reviver | undefined) {
    this.#attachments = attachments;
    this.#reviver = reviver;
  }

  revive(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array || value instanceof Date) return value;
    if (value instanceof Tag) return this.#tag(value);
    if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index++) value[index] = this.revive(value[index]);
      return value;
    }
    if (value instanceof Map) {
      const pairs = [...(value as Map<unknown, unknown>)].map(([key, item]) => [this.revive(key), this.revive(item)] as const);
      return new Map(pairs);
    }
    if (value instanceof Set) return new Set([...(value as Set<unknown>)].map((item) => this.revive(item)));
    const object = value as Record<string, unknown>;
    for (const key of Object.keys(object)) object[key] = this.revive(object[key]);
    return object;
  }

  #tag(tag: Tag): unknown {
    // The content comes first: attachments are numbered in the order in which the encoder met them.
    if (tag.tag === TAG_ATTACHMENT) return this.#attachments[this.#next++];
    const content = this.revive(tag.value);
    switch (tag.tag) {
      case TAG_BLOB:
        if (content instanceof Uint8Array) return Blob.wrap(content);
        break;
      case TAG_SECRET:
        if (typeof content === 'string') return new Secret(content);
        break;
      case TAG_CALL_ERROR:
        if (isErrorContent(content, MAX_CAUSES)) return new CallError(content);
        break;
      case TAG_TYPED_ARRAY:
        return typedArray(content);
      case TAG_CONTEXT: {
        const [id, name] = Array.isArray(content) ? (content as unknown[]) : [];
        if (this.#reviver && isUint(id, 0xffff) && typeof name === 'string') return this.#reviver.context(id, name);
        break;
      }
      case TAG_STREAM: {
        const [id, handle] = Array.isArray(content) ? (content as unknown[]) : [];
        // What is opened is told to send: a number that was drawn for it, never one that the sender of this value could know.
        if (this.#reviver?.stream && isUint(id, 0xffff) && isUint(handle, 0x7fffffff) && handle >= FIRST_DYNAMIC_HANDLE) return this.#reviver.stream(id, handle);
        break;
      }
      case TAG_SENDER: {
        const [id, handle] = Array.isArray(content) ? (content as unknown[]) : [];
        if (this.#reviver && isUint(id, 0xffff) && isUint(handle, 0xffffffff) && handle > 0 && (handle < FIRST_RESERVED_HANDLE || handle > LAST_RESERVED_HANDLE)) return this.#reviver.sender(id, handle);
      }
    }
    throw new DecodeError(`the content of tag ${String(tag.tag)} is not valid`);
  }
}

function isUint(value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max;
}

function isErrorContent(content: unknown, causes: number): content is ErrorContent {
  if (!Array.isArray(content) || content.length !== 5) return false;
  const [name, message, stack, code, cause] = content as unknown[];
  const texts = typeof name === 'string' && typeof message === 'string' && typeof stack === 'string';
  return texts && (code === null || typeof code === 'string') && (cause === null || (causes > 1 && isErrorContent(cause, causes - 1)));
}

function typedArray(content: unknown): unknown {
  const [kind, bytes] = Array.isArray(content) ? (content as unknown[]) : [];
  const type = typeof kind === 'number' ? TYPED_ARRAYS[kind] : undefined;
  if (type === undefined || !(bytes instanceof Uint8Array) || bytes.length % type.BYTES_PER_ELEMENT !== 0) throw new DecodeError('the content of a typed array is not valid');
  if (bytes.byteOffset % type.BYTES_PER_ELEMENT === 0) return new type(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length / type.BYTES_PER_ELEMENT);
  return new type(Uint8Array.from(bytes).buffer);
}
