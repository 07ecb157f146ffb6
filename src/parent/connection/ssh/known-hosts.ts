/**
 * OpenSSH's known_hosts: the file format of sshd(8), and the decisions that ssh(1) takes from it.
 * Pure functions; known-hosts-file.ts reads and writes.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { ServerHostKeyAlgorithm } from 'ssh2';

/** One usable line of a known_hosts file. */
export interface KnownHost {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly marker: 'revoked' | 'cert-authority' | undefined;
  /** The first field: patterns joined by commas, or `|1|salt|hash`. */
  readonly hosts: string;
  /** Such as `ssh-ed25519`. */
  readonly keyType: string;
  /** The public key as it travels in the protocol. */
  readonly key: Buffer;
}

/** The names under which a host is looked up. */
export interface KnownHostNames {
  /** `host`, or `[host]:port` for a port other than 22, or the alias (HostKeyAlias) alone. */
  readonly name: string;
  /** The bare host of a `[host]:port`: as in ssh(1), a key known for it is accepted when `name` has none. */
  readonly fallback: string | undefined;
}

/** What the known hosts say about a key that a host has shown. */
export type HostKeyVerdict =
  | { readonly status: 'known' | 'changed' | 'revoked'; readonly entry: KnownHost }
  /** `authority` is set when the host is trusted through a certificate authority only. */
  | { readonly status: 'unknown'; readonly authority: KnownHost | undefined };

/** What ssh2 can verify, the best first. */
const HOST_KEY_ALGORITHMS: readonly ServerHostKeyAlgorithm[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
  'ssh-rsa',
];

/** Reads known_hosts lines; lines that ssh(1) could not use are left out, as it does. */
export function parseKnownHosts(text: string, file: string): KnownHost[] {
  return text.split('\n').flatMap((line, index) => parseLine(line, file, index + 1) ?? []);
}

function parseLine(text: string, file: string, line: number): KnownHost | undefined {
  const fields = text.trim().split(/[ \t]+/);
  if (fields[0]?.startsWith('#') === true) return undefined;
  const marked = fields[0]?.startsWith('@') === true ? fields.shift() : undefined;
  if (marked !== undefined && marked !== '@revoked' && marked !== '@cert-authority') return undefined;
  const [hosts, keyType, encoded] = fields;
  if (hosts === undefined || keyType === undefined || encoded === undefined) return undefined;
  const key = Buffer.from(encoded, 'base64');
  if (keyTypeOf(key) !== keyType) return undefined;
  return { file, line, marker: marked === undefined ? undefined : marked === '@revoked' ? 'revoked' : 'cert-authority', hosts, keyType, key };
}

/** The type that a public key names itself; an empty text for what is not a key. */
export function keyTypeOf(key: Buffer): string {
  if (key.length < 8) return '';
  const length = key.readUInt32BE(0);
  return length < key.length - 4 ? key.toString('latin1', 4, 4 + length) : '';
}

/** `SHA256:...` as ssh-keygen(1) shows it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}

/** The names to look `host` up by. */
export function knownHostNames(host: string, port: number, alias?: string): KnownHostNames {
  if (alias !== undefined) return { name: alias, fallback: undefined };
  const bare = host.toLowerCase();
  return port === 22 ? { name: bare, fallback: undefined } : { name: `[${bare}]:${String(port)}`, fallback: bare };
}

/** Whether the first field of a known_hosts line speaks of `name`. */
export function hostsFieldMatches(hosts: string, name: string): boolean {
  if (hosts.startsWith('|')) return hashMatches(hosts, name);
  const text = name.toLowerCase();
  let found = false;
  for (const pattern of hosts.toLowerCase().split(',')) {
    if (pattern.startsWith('!')) {
      if (globMatches(pattern.slice(1), text)) return false;
    } else if (!found) {
      found = globMatches(pattern, text);
    }
  }
  return found;
}

function hashMatches(hosts: string, name: string): boolean {
  const [, version, salt, hash] = hosts.split('|');
  if (version !== '1' || salt === undefined || hash === undefined) return false;
  const wanted = Buffer.from(hash, 'base64');
  const actual = hashName(Buffer.from(salt, 'base64'), name);
  return wanted.length === actual.length && timingSafeEqual(wanted, actual);
}

function hashName(salt: Buffer, name: string): Buffer {
  return createHmac('sha1', salt).update(name).digest();
}

/** `*` and `?` only, in time linear in pattern times text (a regular expression of many stars would not be). */
function globMatches(pattern: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  for (let i = 0; i < text.length; ) {
    if (pattern[at] === '*') {
      star = at++;
      resume = i;
    } else if (at < pattern.length && (pattern[at] === '?' || pattern[at] === text[i])) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[at] === '*') at++;
  return at === pattern.length;
}

/**
 * Decides on a key as OpenSSH 9.2 does: any other plain key for the host means `changed`, whatever its type (the types
 * that are known are asked for first, see {@link orderHostKeyAlgorithms}); a certificate authority does not speak for a
 * plain key; a revocation beats all.
 */
export function checkHostKey(entries: readonly KnownHost[], names: KnownHostNames, key: Buffer): HostKeyVerdict {
  const verdict = checkName(entries, names.name, key);
  if (verdict.status !== 'unknown' || names.fallback === undefined) return verdict;
  const bare = checkName(entries, names.fallback, key);
  if (bare.status === 'known' || bare.status === 'revoked') return bare;
  return verdict.authority === undefined && bare.status === 'unknown' ? bare : verdict;
}

function checkName(entries: readonly KnownHost[], name: string, key: Buffer): HostKeyVerdict {
  const hits = entries.filter((entry) => hostsFieldMatches(entry.hosts, name));
  const revoked = hits.find((entry) => entry.marker === 'revoked' && entry.key.equals(key));
  if (revoked !== undefined) return { status: 'revoked', entry: revoked };
  const plain = hits.filter((entry) => entry.marker === undefined);
  const same = plain.find((entry) => entry.key.equals(key));
  if (same !== undefined) return { status: 'known', entry: same };
  const type = keyTypeOf(key);
  const other = plain.find((entry) => entry.keyType === type) ?? plain[0];
  if (other !== undefined) return { status: 'changed', entry: other };
  return { status: 'unknown', authority: hits.find((entry) => entry.marker === 'cert-authority') };
}

/**
 * The algorithms to offer, those of keys that are known for the host first; undefined when no key is known. Without it
 * a host that is known by its ecdsa key would show its ed25519 key and look changed.
 */
export function orderHostKeyAlgorithms(entries: readonly KnownHost[], names: KnownHostNames): ServerHostKeyAlgorithm[] | undefined {
  const known = knownTypes(entries, names.name) ?? (names.fallback === undefined ? undefined : knownTypes(entries, names.fallback));
  if (known === undefined) return undefined;
  const isKnown = (algorithm: ServerHostKeyAlgorithm): boolean => known.has(algorithm.startsWith('rsa-sha2-') ? 'ssh-rsa' : algorithm);
  return [...HOST_KEY_ALGORITHMS.filter(isKnown), ...HOST_KEY_ALGORITHMS.filter((algorithm) => !isKnown(algorithm))];
}

function knownTypes(entries: readonly KnownHost[], name: string): Set<string> | undefined {
  const types = entries.filter((entry) => entry.marker === undefined && hostsFieldMatches(entry.hosts, name)).map((entry) => entry.keyType);
  return types.length === 0 ? undefined : new Set(types);
}

/** A known_hosts line (without its end of line) for `name`; `hashed` hides the name, as HashKnownHosts does. */
export function formatKnownHost(name: string, key: Buffer, hashed = false): string {
  const salt = randomBytes(20);
  const hosts = hashed ? `|1|${salt.toString('base64')}|${hashName(salt, name).toString('base64')}` : name;
  return `${hosts} ${keyTypeOf(key)} ${key.toString('base64')}`;
}
