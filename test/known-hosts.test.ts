import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { appendKnownHost, readKnownHosts } from '../src/parent/connection/ssh/known-hosts-file.ts';
import { checkHostKey, fingerprint, formatKnownHost, hostsFieldMatches, keyTypeOf, knownHostNames, orderHostKeyAlgorithms, parseKnownHosts } from '../src/parent/connection/ssh/known-hosts.ts';
import { generateKeyPair } from '../src/testing/ssh-server.ts';
import { needs } from './support/needs.ts';

/** A public key of its own, as the two fields of a known_hosts line and as bytes. */
async function newKey(type: 'ed25519' | 'ecdsa' | 'rsa' = 'ed25519'): Promise<{ fields: string; bytes: Buffer }> {
  const { publicKey } = await generateKeyPair(type);
  const fields = publicKey.split(' ').slice(0, 2).join(' ');
  return { fields, bytes: Buffer.from(fields.split(' ')[1] ?? '', 'base64') };
}

const key = await newKey();
const otherKey = await newKey();
const ecdsaKey = await newKey('ecdsa');
const rsaKey = await newKey('rsa');

function statusOf(text: string, shown: Buffer, host = 'web1', port = 22, alias?: string): string {
  return checkHostKey(parseKnownHosts(text, 'kh'), knownHostNames(host, port, alias), shown).status;
}

describe('the first field of a known_hosts line', () => {
  it.each([
    ['web1', 'web1', true],
    ['WEB1', 'web1', true],
    ['web1', 'web10', false],
    ['web?', 'web1', true],
    ['web?', 'web', false],
    ['*', '', true],
    ['*.example.org', 'a.b.example.org', true],
    ['*.example.org', 'example.org', false],
    ['a*b*c', 'axxbyyc', true],
    ['a*b*c', 'axxbyy', false],
    ['!web2,web*', 'web1', true],
    ['!web2,web*', 'web2', false],
    ['web*,!web2', 'web2', false],
    ['!web2', 'web1', false],
    ['web1,10.0.0.1', '10.0.0.1', true],
    ['[web1]:2222', '[web1]:2222', true],
    ['[web*]:2222', '[web1]:2222', true],
    ['web1', '[web1]:2222', false],
    ['web.', 'webx', false],
  ])('%s against %s: %s', (hosts, name, expected) => {
    expect(hostsFieldMatches(hosts, name)).toBe(expected);
  });

  it('stays quick for a pattern of many stars', () => {
    expect(hostsFieldMatches(`${'*a'.repeat(60)}b`, 'a'.repeat(5000))).toBe(false);
  });
});

describe('checkHostKey', () => {
  it('knows a key by plain, hashed and wildcard lines', () => {
    expect(statusOf(`web1 ${key.fields} comment here`, key.bytes)).toBe('known');
    expect(statusOf(formatKnownHost('web1', key.bytes, true), key.bytes)).toBe('known');
    expect(statusOf(`  web*,!web2\t${key.fields}\r`, key.bytes)).toBe('known');
    expect(statusOf(`web*,!web2 ${key.fields}`, key.bytes, 'web2')).toBe('unknown');
  });

  it('calls any other plain key a change, whatever its type, and prefers the line of the same type', () => {
    expect(statusOf(`web1 ${otherKey.fields}`, key.bytes)).toBe('changed');
    const verdict = checkHostKey(parseKnownHosts(`web1 ${ecdsaKey.fields}\nweb1 ${otherKey.fields}`, 'kh'), knownHostNames('web1', 22), key.bytes);
    expect(verdict).toMatchObject({ status: 'changed', entry: { line: 2, file: 'kh' } });
    expect(statusOf(`web1 ${ecdsaKey.fields}`, key.bytes)).toBe('changed');
    expect(statusOf(`web1 ${otherKey.fields}\nweb1 ${key.fields}`, key.bytes)).toBe('known');
  });

  it('lets a revocation win, also by pattern', () => {
    expect(statusOf(`web1 ${key.fields}\n@revoked * ${key.fields}`, key.bytes)).toBe('revoked');
    expect(statusOf(`web1 ${key.fields}\n@revoked web2 ${key.fields}`, key.bytes)).toBe('known');
    expect(statusOf(`@revoked * ${otherKey.fields}`, key.bytes)).toBe('unknown');
  });

  it('does not take a certificate authority for a host key, and tells of it', () => {
    const entries = parseKnownHosts(`@cert-authority web* ${key.fields}`, 'kh');
    expect(checkHostKey(entries, knownHostNames('web1', 22), key.bytes)).toMatchObject({ status: 'unknown', authority: { line: 1 } });
  });

  it('looks up another port by [host]:port, then accepts the key of the bare host, as ssh does', () => {
    expect(statusOf(`[web1]:2222 ${key.fields}`, key.bytes, 'web1', 2222)).toBe('known');
    expect(statusOf(`web1 ${key.fields}`, key.bytes, 'web1', 2222)).toBe('known');
    expect(statusOf(`web1 ${otherKey.fields}`, key.bytes, 'web1', 2222)).toBe('unknown');
    expect(statusOf(`web1 ${key.fields}\n@revoked web1 ${key.fields}`, key.bytes, 'web1', 2222)).toBe('revoked');
    expect(statusOf(`web1 ${key.fields}\n[web1]:2222 ${otherKey.fields}`, key.bytes, 'web1', 2222)).toBe('changed');
    expect(statusOf(`[::1]:2222 ${key.fields}`, key.bytes, '::1', 2222)).toBe('known');
    expect(statusOf(`::1 ${key.fields}`, key.bytes, '::1', 22)).toBe('known');
  });

  it('looks up an alias without the port', () => {
    expect(statusOf(`inner ${key.fields}`, key.bytes, 'web1', 2222, 'inner')).toBe('known');
    expect(statusOf(`web1 ${key.fields}`, key.bytes, 'web1', 22, 'inner')).toBe('unknown');
  });

  it('leaves out lines that nobody could use', () => {
    const lines = ['', '# web1 ssh-ed25519 AAAA', 'web1', 'web1 ssh-ed25519', 'web1 ssh-ed25519 !!!!', `web1 ssh-rsa ${key.fields.split(' ')[1] ?? ''}`, `@unheard web1 ${key.fields}`, '@revoked', 'web1 ssh-ed25519 AAAAC3NzaC1l', `|1|x ${key.fields}`, `|2|a|b ${key.fields}`];
    expect(statusOf(lines.join('\n'), key.bytes)).toBe('unknown');
    expect(keyTypeOf(Buffer.from([255, 255, 255, 255, 0, 0, 0, 0, 0]))).toBe('');
  });
});

describe('orderHostKeyAlgorithms', () => {
  it('puts the types of known keys first and has no opinion about unknown hosts', () => {
    const order = (text: string, port = 22): readonly string[] | undefined => orderHostKeyAlgorithms(parseKnownHosts(text, 'kh'), knownHostNames('web1', port));
    expect(order('')).toBeUndefined();
    expect(order(`web1 ${ecdsaKey.fields}`)?.[0]).toBe('ecdsa-sha2-nistp256');
    expect(order(`web1 ${rsaKey.fields}\nweb1 ${ecdsaKey.fields}`)?.slice(0, 4)).toEqual(['ecdsa-sha2-nistp256', 'rsa-sha2-512', 'rsa-sha2-256', 'ssh-rsa']);
    expect(order(`@revoked web1 ${rsaKey.fields}`)).toBeUndefined();
    expect(order(`web1 ${rsaKey.fields}`, 2222)?.[0]).toBe('rsa-sha2-512');
  });
});

describe('known_hosts files', () => {
  let directory: string;
  const warnings: string[] = [];
  const warn = (text: string): void => {
    warnings.push(text);
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tendril-kh-'));
    warnings.length = 0;
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it('makes a private file in a private directory, and adds each key once', async () => {
    const file = join(directory, 'dot-ssh', 'known_hosts');
    appendKnownHost(file, 'web1', key.bytes, { hashed: false, warn });
    appendKnownHost(file, 'web1', key.bytes, { hashed: true, warn });
    appendKnownHost(file, '[web1]:2222', key.bytes, { hashed: false, warn });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, 'dot-ssh')).mode & 0o777).toBe(0o700);
    expect(readFileSync(file, 'utf8')).toBe(`web1 ${key.fields}\n[web1]:2222 ${key.fields}\n`);
    expect(await readKnownHosts([file, join(directory, 'none')], warn)).toHaveLength(2);
    expect(warnings).toEqual([]);
  });

  it('does not glue its line to one without an end, and keeps the mode of a file that is there', () => {
    const file = join(directory, 'known_hosts');
    writeFileSync(file, `web2 ${otherKey.fields}`, { mode: 0o644 });
    appendKnownHost(file, 'web1', key.bytes, { hashed: false, warn });
    expect(readFileSync(file, 'utf8')).toBe(`web2 ${otherKey.fields}\nweb1 ${key.fields}\n`);
    expect(statSync(file).mode & 0o777).toBe(0o644);
  });

  it('warns about a file that cannot be read or written and goes on', async () => {
    const file = join(directory, 'known_hosts');
    mkdirSync(file);
    expect(await readKnownHosts([file], warn)).toEqual([]);
    appendKnownHost(file, 'web1', key.bytes, { hashed: false, warn });
    expect(warnings).toEqual([expect.stringContaining(file), expect.stringMatching(/accepted, but cannot be written/)]);
  });

  needs('ssh-keygen')('beside ssh-keygen', () => {
    /** The numbers of the lines that `ssh-keygen -F` finds. */
    function linesFound(file: string, name: string): number[] {
      try {
        const text = execFileSync('ssh-keygen', ['-F', name, '-f', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
        return [...text.matchAll(/found: line (\d+)/g)].map((match) => Number(match[1]));
      } catch {
        return [];
      }
    }

    it('finds the same lines, plain and hashed', () => {
      const file = join(directory, 'known_hosts');
      const lines = ['web1', 'web1,10.0.0.1', 'web*,!web2', '[web1]:2222', '[web*]:2222', '*.example.org', '::1', '[::1]:2222', '*', 'w?b1', '[db]:22'].map((hosts) => `${hosts} ${key.fields}`);
      lines.push(formatKnownHost('web1', key.bytes, true), formatKnownHost('[web1]:2222', key.bytes, true), `@revoked web1 ${otherKey.fields}`);
      const names = ['web1', 'WEB1', 'web2', '10.0.0.1', '[web1]:2222', '[web2]:2222', 'a.example.org', '::1', '[::1]:2222', 'nothing', 'wxb1', '[db]:22'];
      const compare = (): void => {
        const entries = parseKnownHosts(readFileSync(file, 'utf8'), file);
        for (const name of names) {
          const own = entries.filter((entry) => hostsFieldMatches(entry.hosts, name)).map((entry) => entry.line);
          expect([name, own]).toEqual([name, linesFound(file, name)]);
        }
      };
      writeFileSync(file, `${lines.join('\n')}\n`);
      compare();
      execFileSync('ssh-keygen', ['-H', '-f', file], { stdio: 'ignore' });
      expect(existsSync(file)).toBe(true);
      expect(readFileSync(file, 'utf8')).toContain('|1|');
      compare();
    });

    it('shows the same fingerprints', () => {
      const file = join(directory, 'key.pub');
      for (const { fields, bytes } of [key, ecdsaKey, rsaKey]) {
        writeFileSync(file, `${fields}\n`);
        expect(execFileSync('ssh-keygen', ['-l', '-f', file], { encoding: 'utf8' }).split(' ')[1]).toBe(fingerprint(bytes));
      }
    });
  });
});
