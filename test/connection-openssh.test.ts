import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import type { OpensshOptions, TargetOptions } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { needs } from './support/needs.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import type { Sshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

needs('ssh', 'script', ...SSHD_NEEDS)('openssh', () => {
  watchForLeaks();
  let sshd: Sshd<'sh' | 'csh'>;

  beforeAll(async () => {
    sshd = await startSshd({ accounts: [{ name: 'sh', shell: '/bin/sh' }, { name: 'csh', shell: existsSync('/bin/csh') ? '/bin/csh' : '/bin/sh' }], config: ['TrustedUserCAKeys none', 'AllowTcpForwarding yes'] });
  });
  afterAll(() => sshd.close());
  afterEach(async () => {
    for (let round = 0; round < 400 && sshd.processes().length > 0; round++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(sshd.processes()).toEqual([]);
  });

  const login = (more: Partial<OpensshOptions & TargetOptions> = {}): OpensshOptions & TargetOptions => ({ host: sshd.host, port: sshd.port, username: sshd.accounts.sh.username, identityFile: sshd.userKey, knownHosts: sshd.knownHosts, configFile: 'none', ...more });
  const byPassword = (password: string | undefined): OpensshOptions & TargetOptions => {
    const { identityFile, ...rest } = login(password === undefined ? {} : { password });
    expect(identityFile).toBe(sshd.userKey);
    return { ...rest, sshArgs: ['-o', 'PubkeyAuthentication=no'] };
  };
  const refusal = (options: OpensshOptions & TargetOptions): Promise<Error & { code?: string }> => {
    let error: (Error & { code?: string }) | undefined;
    return withTree({}, async ({ master, records }) => {
      error = await failure(master.openssh(options).connected);
      expect(JSON.stringify([records, error, error.message])).not.toContain('wrong-password');
    }).then(() => error!);
  };

  it('enters by key, in shells of both kinds', () =>
    withTree({}, async ({ master }) => {
      for (const name of ['sh', 'csh'] as const) {
        const { username, uid, home } = sshd.accounts[name];
        const kid = master.openssh(login({ username }));
        expect(await first(kid.call(place.whoAmI))).toEqual({ uid, user: username, home, cwd: home });
        expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
      }
    }));

  it('enters by password, which is seen nowhere (REFERENCE 219)', () =>
    withTree({}, async ({ master, records }) => {
      const { password, uid } = sshd.accounts.sh;
      const kid = master.openssh(byPassword(password));
      expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid });
      expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
      await kid.shutdown();
      expect(JSON.stringify(records)).not.toMatch(new RegExp(`assword|${password}`));
    }));

  it('tells a wrong password and a missing one (REFERENCE 215, 219)', async () => {
    expect(await refusal(byPassword('wrong-password'))).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', phase: 'authentication' });
    expect(await refusal(byPassword(undefined))).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', message: expect.stringContaining('Permission denied') });
  });

  it('decrypts a key by its passphrase', () =>
    withTree({}, async ({ master }) => {
      const key = join(sshd.directory, 'locked');
      execFileSync('sh', ['-c', 'cp "$0" "$1" && chmod 600 "$1" && ssh-keygen -q -p -P "" -N "open sesame" -f "$1"', sshd.userKey, key], { stdio: 'ignore' });
      expect(await first(master.openssh(login({ identityFile: key, passphrase: 'open sesame' })).call(tasks.add, 1, 2))).toBe(3);
      expect(await refusal(login({ identityFile: key, passphrase: 'wrong-password' }))).toMatchObject({ reason: expect.stringMatching(/BAD_KEY|AUTH_FAILED/) });
      expect(await refusal(login({ identityFile: key }))).toMatchObject({ reason: expect.stringMatching(/BAD_KEY|AUTH_FAILED/) });
    }));

  it('enforces host keys (REFERENCE 216, 220)', async () => {
    const known = join(sshd.directory, 'known_test');
    writeFileSync(known, '');
    expect(await refusal(login({ knownHosts: known }))).toMatchObject({ code: 'ERR_TENDRIL_HOST_KEY_UNKNOWN', phase: 'transport' });
    await withTree({}, async ({ master }) => {
      expect(await first(master.openssh(login({ knownHosts: known, hostKeys: 'accept-new' })).call(tasks.add, 1, 2))).toBe(3);
      expect(await first(master.openssh(login({ knownHosts: known })).call(tasks.add, 1, 2))).toBe(3);
    });
    const [, type, key = ''] = (sshd.hostKeyLines['ed25519'] ?? '').split(' ');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(sshd.directory, 'other')]);
    const other = execFileSync('cut', ['-d', ' ', '-f', '1,2', join(sshd.directory, 'other.pub')], { encoding: 'utf8' });
    const host = `[${sshd.host}]:${String(sshd.port)}`;
    writeFileSync(known, `${host} ${other}`);
    expect(await refusal(login({ knownHosts: known }))).toMatchObject({ code: 'ERR_TENDRIL_HOST_KEY_CHANGED' });
    writeFileSync(known, `@revoked * ${type ?? ''} ${key}\n${host} ${type ?? ''} ${key}\n`);
    expect(await refusal(login({ knownHosts: known }))).toMatchObject({ code: 'ERR_TENDRIL_HOST_KEY_REVOKED' });
    await withTree({}, async ({ master }) => {
      const { knownHosts, ...rest } = login();
      expect(knownHosts).not.toBe('');
      expect(await first(master.openssh({ ...rest, hostKeys: 'ignore' }).call(tasks.add, 1, 2))).toBe(3);
    });
  });

  it('goes through another host (ProxyJump)', () =>
    withTree({}, async ({ master }) => {
      const config = join(sshd.directory, 'ssh_config');
      writeFileSync(config, `Host jump\n  HostName ${sshd.host}\n  Port ${String(sshd.port)}\n  User ${sshd.accounts.sh.username}\n  IdentityFile ${sshd.userKey}\n  UserKnownHostsFile ${sshd.knownHosts}\n  StrictHostKeyChecking yes\n`, { mode: 0o600 });
      const kid = master.openssh(login({ configFile: config, proxyJump: 'jump', username: sshd.accounts.csh.username }));
      expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid: sshd.accounts.csh.uid });
    }));

  it('shares a connection (ControlMaster)', () =>
    withTree({}, async ({ master }) => {
      const controlPath = join(sshd.directory, 'control-%C');
      const kids = [1, 2].map(() => master.openssh(login({ controlPath, controlPersist: 30 })));
      try {
        for (const kid of kids) expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
        await Promise.all(kids.map((kid) => kid.shutdown()));
      } finally {
        execFileSync('ssh', ['-F', 'none', '-o', `ControlPath=${controlPath}`, '-p', String(sshd.port), '-l', sshd.accounts.sh.username, '-O', 'exit', sshd.host], { stdio: 'ignore' });
      }
    }));

  it('enters by a certificate', () =>
    withTree({}, async ({ master }) => {
      const authority = join(sshd.directory, 'ca');
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', authority]);
      const key = join(sshd.directory, 'certified');
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
      execFileSync('ssh-keygen', ['-q', '-s', authority, '-I', 'test', '-n', 'anyone', `${key}.pub`], { stdio: 'ignore' });
      const trusting = await startSshd({ accounts: [{ name: 'sh', shell: '/bin/sh' }], config: [`TrustedUserCAKeys ${authority}.pub`, 'AuthorizedPrincipalsCommand /bin/echo anyone', 'AuthorizedPrincipalsCommandUser nobody'] });
      try {
        const { username, uid } = trusting.accounts.sh;
        const options = { host: trusting.host, port: trusting.port, username, identityFile: key, knownHosts: trusting.knownHosts, configFile: 'none' };
        const kid = master.openssh({ ...options, certificateFile: `${key}-cert.pub` });
        expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid });
        await kid.shutdown();
      } finally {
        await trusting.close();
      }
    }));

  it('says where nothing listens, and what no name is', async () => {
    expect(await refusal(login({ port: 1 }))).toMatchObject({ code: 'ERR_TENDRIL_REFUSED', phase: 'transport' });
    expect(await refusal(login({ host: 'no-such-host.invalid' }))).toMatchObject({ code: 'ERR_TENDRIL_DNS' });
    expect(await refusal(login({ sshArgs: ['-o', 'NoSuchOption=1'] }))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
    expect(await refusal(login({ nodePath: 'node-that-is-not-there' }))).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
  });
});
