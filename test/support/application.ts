import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Observable } from 'rxjs';
import type { Context } from 'tendril';

/** Files of an application by their paths in its directory. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

/** Below it lies, in a child, what the master has at the same path without it. */
export const VIRTUAL_ROOT = '/dev/null/tendril';

/** Writes files, and the directories that they need. */
export function writeFiles(directory: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}

/** Runs a test with files in a directory of their own, whose path has no links. It is removed afterwards. */
export async function withFiles(files: Files, test: (directory: string) => Promise<void>): Promise<void> {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'tendril-app-')));
  try {
    writeFiles(directory, files);
    await test(directory);
  } finally {
    chmodSync(directory, 0o700);
    rmSync(directory, { recursive: true });
  }
}

/**
 * Calls a function of a module that this process does not load: jest would evaluate it in a module system of its own, and
 * many of these modules are not made to be evaluated here.
 */
export function remote<T>(context: Context, path: string, name: string, ...args: readonly unknown[]): Observable<T> {
  const member = context.module<Record<string, (...given: readonly unknown[]) => T>>(pathToFileURL(path))[name];
  return member?.(...args) as Observable<T>;
}

/** What a function came to: its value, or the error. */
export interface Outcome {
  readonly value?: unknown;
  readonly error?: { readonly name: string; readonly code: string | null; readonly message: string; readonly stack: string };
}

const PLAIN_NODE = fileURLToPath(new URL('../fixtures/plain-node.mjs', import.meta.url));

/** The oracle of most tests: what the same function comes to in a Node that has the files on its disk. */
export async function inPlainNode(path: string, name: string, ...args: readonly unknown[]): Promise<Outcome> {
  const node = spawn(process.execPath, ['--no-warnings', PLAIN_NODE, pathToFileURL(path).href, name, JSON.stringify(args)], { stdio: ['ignore', 'pipe', 'inherit'], cwd: dirname(path) });
  return JSON.parse(await text(node.stdout)) as Outcome;
}

/** A text of a child with its paths as they are at the master. */
export function atTheMaster(said: string): string {
  return said.replaceAll(VIRTUAL_ROOT, '');
}
