import { readSync, writeSync } from 'node:fs';

/** The descriptors of the protocol (docs/protocol.md, "Bootstrap"). */
export const READ_FD = 3;
export const WRITE_FD = 4;

const nap = new Int32Array(new SharedArrayBuffer(4));

/** What a system call on a non-blocking descriptor did: a count, or that it would have to wait. */
function attempt(call: () => number): number | undefined {
  try {
    return call();
  } catch (error) {
    if ((error as { code?: string }).code !== 'EAGAIN') throw error;
    return undefined;
  }
}

/** Writes all of it before it returns. Throws when the parent is gone. */
export function writeFully(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const count = attempt(() => writeSync(WRITE_FD, bytes, at));
    if (count === undefined) Atomics.wait(nap, 0, 0, 1);
    else at += count;
  }
}

/** As {@link writeFully}, but writes nothing and gives false when the parent does not take bytes just now. */
export function writeOrNothing(bytes: Uint8Array): boolean {
  const count = attempt(() => writeSync(WRITE_FD, bytes));
  if (count === undefined) return false;
  // Half a frame must be followed by the other half: no other thread can write meanwhile.
  writeFully(bytes.subarray(count));
  return true;
}

/** Reads exactly `length` bytes; ends the process when the parent is gone. */
export function readFully(length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length; ) {
    const count = attempt(() => readSync(READ_FD, bytes, at, length - at, null));
    if (count === 0) process.exit(1);
    if (count === undefined) Atomics.wait(nap, 0, 0, 1);
    else at += count;
  }
  return bytes;
}
