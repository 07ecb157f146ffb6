import { unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Files that are to be gone when this process ends. */
const open = new Set<string>();

/** Where a file is written before it gets its name: beside it, so that it can be renamed. */
export function temporaryName(path: string, id: string): string {
  // With what is added, within the 255 bytes that names have; a name may be of long characters.
  const name = Buffer.from(basename(path)).subarray(0, 200).toString('utf8').replace(/\uFFFD+$/, '');
  return join(dirname(path), `.${name}.${id}.part`);
}

/** Removes a file when the process ends by itself. */
export function removeAtExit(path: string): void {
  open.add(path);
  if (open.size === 1) process.on('exit', removeAll);
}

/** It is gone, or is to stay. */
export function keep(path: string): void {
  if (open.delete(path) && open.size === 0) process.off('exit', removeAll);
}

function removeAll(): void {
  for (const path of open) {
    try {
      unlinkSync(path);
    } catch {
      // It is gone.
    }
  }
}
