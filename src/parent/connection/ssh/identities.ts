import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ParsedKey } from 'ssh2';
import { isError, messageOf } from '../../../core/errors.ts';
import { ConnectError } from '../connect-error.ts';
import { reveal } from '../reveal.ts';
import { expandHome, listOf } from './options.ts';
import type { SshOptions } from './options.ts';
import type { Ssh2 } from './ssh2.ts';

/** A private key that is ready to sign, or the reason why it is not. */
export type Identity = { readonly source: string; readonly key: ParsedKey } | { readonly source: string; readonly problem: string };

/** Keys kept at most. Each is one account's; a fleet rarely has more than a handful. */
const MAX_CACHED_KEYS = 64;

/** Parsed keys, and failures, by a digest of key and passphrase: bcrypt blocks the event loop for half a second. */
const parsed = new Map<string, ParsedKey | string>();

/** Parses a private key once per process. The problem of one that fails contains neither the key nor the passphrase. */
export function parseIdentity(ssh2: Ssh2, contents: Buffer | string, passphrase: string | undefined, source: string): Identity {
  const digest = createHash('sha256').update(contents).update('\0').update(passphrase ?? '').digest('hex');
  const result = parsed.get(digest) ?? parsePrivateKey(ssh2, contents, passphrase);
  parsed.delete(digest);
  parsed.set(digest, result);
  const oldest = parsed.keys().next().value;
  if (parsed.size > MAX_CACHED_KEYS && oldest !== undefined) parsed.delete(oldest);
  return typeof result === 'string' ? { source, problem: result } : { source, key: result };
}

function parsePrivateKey(ssh2: Ssh2, contents: Buffer | string, passphrase: string | undefined): ParsedKey | string {
  const found = listOf<ParsedKey | Error>(ssh2.utils.parseKey(contents, passphrase))[0];
  if (found === undefined || isError(found)) return problemOf(found === undefined ? '' : messageOf(found));
  return found.isPrivateKey() ? found : 'it is a public key, not a private one';
}

function problemOf(text: string): string {
  if (text.includes('no passphrase given')) return 'it is encrypted and no passphrase was given (option passphrase, or an ssh-agent)';
  if (text.includes('bad passphrase') || text.includes('bad decrypt')) return 'the passphrase does not fit';
  if (text.includes('Unsupported key format')) return 'it is not a private key in a format that ssh2 reads (OpenSSH, PEM, PPK)';
  return `ssh2 cannot read it (${text})`;
}

/** As {@link parseIdentity}, from a file. */
export async function readIdentity(ssh2: Ssh2, path: string, passphrase: string | undefined): Promise<Identity> {
  try {
    return parseIdentity(ssh2, await readFile(path), passphrase, path);
  } catch (error) {
    return { source: path, problem: `it cannot be read (${(error as { code?: string } | null)?.code ?? messageOf(error)})` };
  }
}

/** The keys that the program asked for itself; the first that cannot be used is an error. */
export async function explicitIdentities(ssh2: Ssh2, options: SshOptions): Promise<{ source: string; key: ParsedKey }[]> {
  const passphrase = passphraseOf(options);
  const given: Identity[] = [];
  if (options.privateKey !== undefined) {
    const contents = Buffer.isBuffer(options.privateKey) ? options.privateKey : reveal(options.privateKey);
    given.push(parseIdentity(ssh2, contents, passphrase, 'option privateKey'));
  }
  for (const path of listOf(options.identityFile).map(expandHome)) given.push(await readIdentity(ssh2, path, passphrase));
  return given.map((identity) => {
    if ('key' in identity) return identity;
    throw new ConnectError('BAD_KEY', `the key of ${identity.source} cannot be used: ${identity.problem}`, { phase: 'transport' });
  });
}

/** The passphrase as text, when there is one. */
export function passphraseOf(options: SshOptions): string | undefined {
  return options.passphrase === undefined ? undefined : reveal(options.passphrase);
}

/** The public half that lies beside a private key file, without the private key being read. */
export async function publicHalf(ssh2: Ssh2, path: string): Promise<Buffer | undefined> {
  try {
    const found = listOf<ParsedKey | Error>(ssh2.utils.parseKey(await readFile(`${path}.pub`)))[0];
    return found === undefined || isError(found) ? undefined : found.getPublicSSH();
  } catch {
    return undefined;
  }
}
