import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** Runs a program of plain Node to its end, and gives what it printed; rejects when it fails. */
export function runNode(args: readonly string[], options: { readonly cwd?: string } = {}): Promise<{ stdout: string; stderr: string }> {
  // Programs are not to run as part of this test.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'NODE_OPTIONS' && !name.startsWith('JEST_')));
  return promisify(execFile)(process.execPath, args, { ...options, env });
}

/** A directory with files, for the time of one test. */
export async function withFiles(files: Readonly<Record<string, string>>, test: (directory: string) => Promise<void>): Promise<void> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'tendril-files-')));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    await test(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
