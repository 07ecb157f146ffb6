import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The directory of this package: of its sources, or of what the compiler made of them. */
const directory = fileURLToPath(new URL('../../', import.meta.url));

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

const entries = new Set(['index.ts', 'index.js'].map((name) => real(directory + name)));

/** Whether a file is this library itself, which a child has already: by any name it is the running core there. */
export function isOwnEntry(path: string): boolean {
  return entries.has(path);
}
