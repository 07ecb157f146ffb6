import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf } from '../../../core/errors.ts';
import { checkHostKey, formatKnownHost, parseKnownHosts } from './known-hosts.ts';
import type { KnownHost } from './known-hosts.ts';
import type { Warn } from './options.ts';

/** Reads all `files` in order. A file that is not there counts as empty; one that cannot be read does too, with a warning. */
export async function readKnownHosts(files: readonly string[], warn: Warn): Promise<KnownHost[]> {
  const lists = await Promise.all(
    files.map(async (file) => {
      try {
        return parseKnownHosts(await readFile(file, 'utf8'), file);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') warn(`the known hosts in ${file} cannot be read: ${messageOf(error)}`);
        return [];
      }
    }),
  );
  return lists.flat();
}

/**
 * Writes down a key that was accepted (mode `accept-new`), unless the file has it by now. A new file gets mode 0600 and
 * a new directory 0700; those that exist keep theirs. When it cannot be written, `warn` hears of it and nothing fails.
 *
 * Synchronous, so that connections of one process that accept keys at the same time cannot mix their lines.
 */
export function appendKnownHost(file: string, name: string, key: Buffer, options: { readonly hashed: boolean; readonly warn: Warn }): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const fd = openSync(file, 'a+', 0o600);
    try {
      const text = readFileSync(fd, 'utf8');
      if (checkHostKey(parseKnownHosts(text, file), { name, fallback: undefined }, key).status === 'known') return;
      writeSync(fd, `${text === '' || text.endsWith('\n') ? '' : '\n'}${formatKnownHost(name, key, options.hashed)}\n`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    options.warn(`the host key of ${name} was accepted, but cannot be written to ${file}: ${messageOf(error)}; it will be accepted again next time`);
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | null)?.code;
}
