import type { ParsedKey } from 'ssh2';

/** A throw-away key pair in OpenSSH's formats. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** Makes a key pair; with a passphrase the private key is encrypted. Needs the package ssh2. */
export async function generateKeyPair(type: 'ed25519' | 'ecdsa' | 'rsa' = 'ed25519', passphrase?: string): Promise<KeyPair> {
  const { utils } = (await import('ssh2')).default;
  const encryption: object = passphrase === undefined ? {} : { passphrase, cipher: 'aes256-ctr', rounds: 16 };
  const make = { ed25519: () => utils.generateKeyPairSync('ed25519', encryption), ecdsa: () => utils.generateKeyPairSync('ecdsa', { bits: 256, ...encryption }), rsa: () => utils.generateKeyPairSync('rsa', { bits: 2048, ...encryption }) };
  // ssh2 1.17 drops a leading zero byte of an ed25519 key: about one pair in 140 is broken.
  for (let left = 16; left > 0; left--) {
    const pair = make[type]();
    const [secret, open] = [firstKey(utils.parseKey(pair.private, passphrase)), firstKey(utils.parseKey(pair.public))];
    if (secret === undefined || open === undefined) continue;
    const proof = Buffer.from('proof');
    if (open.verify(proof, secret.sign(proof))) return { privateKey: pair.private, publicKey: pair.public };
  }
  throw new Error(`ssh2 makes no usable ${type} key`);
}

/**
 * What ssh2's parseKey gives: a key, an error, or (which its declarations forget) a list of keys.
 *
 * @internal
 */
export function firstKey(parsed: ParsedKey | Error | readonly ParsedKey[]): ParsedKey | undefined {
  const key = Array.isArray(parsed) ? (parsed as readonly ParsedKey[])[0] : (parsed as ParsedKey | Error);
  return key !== undefined && 'getPublicSSH' in key ? key : undefined;
}
