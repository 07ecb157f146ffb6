/** Bytes of a piece of a stream of bytes: with what belongs to its message less than is cut on a link. Whole pages. */
export const CHUNK_BYTES: number = 60 * 1024;

/** How much of a file may be under way: twice as much as of other streams, for machines that are busy and links that are long. */
export const FILE_WINDOW: { readonly bytes: number } = { bytes: 8 * 1024 * 1024 };

/** The same bytes in pieces. */
export function* cut(bytes: Uint8Array): Generator<Uint8Array, undefined> {
  if (bytes.length <= CHUNK_BYTES) yield bytes;
  else for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}
