import { types } from 'node:util';
import { isError } from '../../src/core/errors.ts';
import { Blob } from '../../src/core/wire/blob.ts';
import { CallError } from '../../src/core/wire/call-error.ts';
import { FrameDecoder, encodeFrame } from '../../src/core/wire/frame.ts';
import type { Message } from '../../src/core/wire/frame.ts';
import { Secret } from '../../src/core/wire/secret.ts';
import { decodeValue, encodeValue } from '../../src/core/wire/values.ts';
import type { Reviver } from '../../src/core/wire/revival.ts';

/** Bytes of a neighbouring frame, which must never show through a `.buffer` that is handed out. */
export const NEIGHBOUR = 'neighbour-secret';

/** A value over a real frame, behind a neighbour in the same chunk. */
export function overTheWire(value: unknown, volatile = false, reviver?: Reviver): unknown {
  const { data, tail } = encodeValue(value);
  const neighbour: Message = { dstId: 1, srcId: 2, handle: 3, replyTo: 0, data: Buffer.from(NEIGHBOUR) };
  const frame = encodeFrame({ ...neighbour, data, ...(tail && { tail }) });
  const chunk = Uint8Array.from(Buffer.concat([encodeFrame(neighbour), frame]));
  const message = new FrameDecoder(chunk.length).push(chunk, volatile)[1];
  if (volatile) chunk.fill(0xee);
  if (message === undefined) throw new Error('the frame did not arrive');
  return decodeValue(message.data, undefined, reviver);
}

/** A value that never leaves this process: its attachments stay apart. */
export function withinTheProcess(value: unknown, reviver?: Reviver): unknown {
  const { data, tail } = encodeValue(value);
  return decodeValue(data, tail, reviver);
}

/** All the memory that a value gives access to. */
export function memoryOf(value: unknown): ArrayBufferLike[] {
  if (ArrayBuffer.isView(value)) return [value.buffer];
  if (Array.isArray(value)) return value.flatMap(memoryOf);
  if (types.isMap(value)) return [...(value as Map<unknown, unknown>)].flat().flatMap(memoryOf);
  if (types.isSet(value)) return [...(value as Set<unknown>)].flatMap(memoryOf);
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(memoryOf) : [];
}

/** A value as nested lists that are alike when the values are, types and order included. */
export function canonical(value: unknown): unknown {
  if (typeof value === 'number') return Number.isNaN(value) ? 'NaN' : value;
  if (typeof value !== 'object' || value === null) return [typeof value, String(value)];
  if (Array.isArray(value)) return ['array', ...value.map(canonical)];
  if (types.isDate(value)) return ['date', canonical(value.getTime())];
  if (types.isMap(value)) return ['map', ...[...(value as Map<unknown, unknown>)].flat().map(canonical)];
  if (types.isSet(value)) return ['set', ...[...(value as Set<unknown>)].map(canonical)];
  if (value instanceof Secret) return ['secret', value.reveal()];
  if (value instanceof CallError) return ['call-error', value.remoteName, value.message, value.remoteStack, value.code, canonical(value.cause)];
  if (isError(value)) return ['error', value.message];
  if (types.isAnyArrayBuffer(value)) return ['bytes', Buffer.from(value).toString('hex')];
  if (ArrayBuffer.isView(value)) {
    const kind = value instanceof Blob ? 'blob' : types.isUint8Array(value) || types.isDataView(value) ? 'bytes' : (value as { [Symbol.toStringTag]?: string })[Symbol.toStringTag];
    return [kind, Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')];
  }
  return ['object', ...Object.entries(value).map(([key, item]) => [key, canonical(item)])];
}
