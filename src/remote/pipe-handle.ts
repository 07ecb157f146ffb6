import { Socket } from 'node:net';
import type { Readable } from 'node:stream';

/** What Node reads a pipe with. Not documented, so it is looked at before it is used. */
interface PipeHandle {
  useUserBuffer?(buffer: Uint8Array): void;
}

/**
 * Takes the handle of a pipe of a child process away from its stream, which allocates 64 KiB for each read, so that it can
 * be read into memory of ours: `new Socket({ handle, onread })`. Bytes that were read already are handed over first.
 * Undefined, and nothing happens, where there is none that can do this, or where the pipe is at its end.
 */
export function takeHandle(readable: Readable, onRead: (bytes: Uint8Array) => void = () => undefined): object | undefined {
  if (!(readable instanceof Socket)) return undefined;
  const inner = readable as unknown as { _handle?: PipeHandle | null; readonly _readableState: { readonly ended: boolean } };
  const handle = inner._handle;
  if (readable.destroyed || inner._readableState.ended || typeof handle?.useUserBuffer !== 'function') return undefined;
  const read = readable.read() as Uint8Array | null;
  if (read !== null) onRead(read);
  inner._handle = null;
  readable.destroy();
  return handle;
}
