import { isObservable, map } from 'rxjs';
import type { Observable } from 'rxjs';
import { UsageError } from '../core/errors.ts';
import { Secret } from '../core/wire/secret.ts';
import { stream } from '../flow/stream.ts';
import type { RemoteStream } from '../core/call/remote-stream.ts';
import { CHUNK_BYTES, cut } from '../remote/chunks.ts';

/** A piece of bytes, or of text, which is UTF-8. */
export type Piece = Uint8Array | string;

/**
 * Bytes from anywhere: a text, bytes, an async iterable (a generator, a Readable of Node), or an Observable of them. What
 * can be paused is, while its reader has enough; an Observable cannot be, and fails with ERR_TENDRIL_OVERFLOW when too much
 * waits. A Secret is a text that shows nowhere.
 */
export type ByteSource = Piece | Secret | AsyncIterable<Piece> | Observable<Piece>;

/** A source as it is sent: bytes that fit into one message as they are. */
export function sendable(source: ByteSource): Uint8Array | Secret | RemoteStream<Uint8Array> {
  if (source instanceof Secret) return source;
  if (typeof source === 'string' || source instanceof Uint8Array) {
    const bytes = bytesOf(source);
    return bytes.length <= CHUNK_BYTES ? bytes : stream(pieces([bytes]));
  }
  if (isObservable(source)) return stream(source.pipe(map(bytesOf)));
  return stream(pieces(source));
}

/** A source as an iterable of pieces of a size that links are shared with. */
export async function* pieces(source: AsyncIterable<Piece> | Iterable<Piece>): AsyncGenerator<Uint8Array, undefined> {
  for await (const piece of source) yield* cut(bytesOf(piece));
}

export function bytesOf(piece: unknown): Uint8Array {
  if (typeof piece === 'string') return Buffer.from(piece);
  if (piece instanceof Uint8Array) return piece;
  throw new UsageError('ERR_TENDRIL_BAD_OPTION', `bytes are Uint8Arrays or texts, got ${typeof piece}`);
}
