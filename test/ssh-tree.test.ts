import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { ConnectError, Secret } from 'tendril';
import { generateKeyPair, startSshServer } from 'tendril/testing';
import * as tasks from './fixtures/tasks.ts';
import { needs } from './support/needs.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import type { Sshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

describe('a context over the embedded ssh server', () => {
  watchForLeaks();

  it('is used like any other, and calls may come before it is connected (REFERENCE 214)', async () => {
    const keys = await generateKeyPair('ed25519');
    const server = await startSshServer({ users: { u: { publicKeys: [keys.publicKey] } }, banner: 'Type EC0 to proceed\n' });
    const directory = mkdtempSync(join(tmpdir(), 'tendril-ssh-'));
    try {
      const knownHosts = join(directory, 'known_hosts');
      writeFileSync(knownHosts, `${server.knownHostsLine}\n`);
      await withTree({}, async ({ master, records }) => {
        const options = { host: server.host, port: server.port, username: 'u', privateKey: new Secret(keys.privateKey), knownHosts, sshConfig: false, agent: false, nodePath: process.execPath } as const;
        const web = master.ssh({ ...options, name: 'web' });
        expect(await first(web.call(tasks.add, 1, 2))).toBe(3);
        expect(await lastValueFrom(web.call(tasks.generated, 300).pipe(toArray()))).toHaveLength(300);
        await first(web.call(tasks.print));
        await first(web.call(tasks.subprocess, 'echo merged'));
        await web.shutdown();
        expect(records.map(({ stream, message }) => [stream, message])).toEqual(expect.arrayContaining([['stdout', 'to stdout'], ['stderr', 'to stderr'], ['stdio', 'merged']]));
        // A child that hangs ends over ssh as well.
        const hung = master.ssh(options);
        await first(hung.connected);
        hung.call(tasks.spin).subscribe({ error: () => undefined });
        await hung.shutdown();
        expect(server.processes).toEqual([]);
        // The connection is lost at the worst moment.
        const lost = master.ssh(options);
        const pending = failure(lost.call(tasks.hang));
        await first(lost.call(tasks.add, 1, 1));
        server.dropClients();
        expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
        expect(await first(lost.closed)).toMatchObject({ reason: 'lost' });
      });
    } finally {
      await server.close();
      rmSync(directory, { recursive: true });
    }
  });

  it('whose host key is not known fails with one typed error, for the context and its calls', async () => {
    const server = await startSshServer({ users: { u: { password: 'pw' } } });
    try {
      await withTree({}, async ({ master }) => {
        const options = { host: server.host, port: server.port, username: 'u', password: 'pw', knownHosts: '/nonexistent/known_hosts', sshConfig: false, agent: false } as const;
        const web = master.ssh(options);
        const call = failure(web.call(tasks.add, 1, 2));
        const error = await failure(web.connected);
        expect(error).toBeInstanceOf(ConnectError);
        expect(error.code).toBe('ERR_TENDRIL_HOST_KEY_UNKNOWN');
        expect(await call).toBe(error);
        const wrong = await failure(master.ssh({ ...options, password: 'wrong-pw', hostKeys: 'ignore' }).connected);
        expect(wrong.code).toBe('ERR_TENDRIL_AUTH_FAILED');
        expect(JSON.stringify(wrong) + wrong.message + (wrong.stack ?? '')).not.toContain('wrong-pw');
        const missing = master.ssh({ ...options, hostKeys: 'ignore', nodePath: '/nonexistent/node' });
        expect((await failure(missing.connected)).code).toBe('ERR_TENDRIL_NODE_MISSING');
      });
    } finally {
      await server.close();
    }
  });
});

needs(...SSHD_NEEDS)('contexts over a real OpenSSH server', () => {
  let sshd: Sshd<'sh' | 'bash' | 'noisy' | 'fish' | 'csh'>;

  beforeAll(async () => {
    sshd = await startSshd({
      accounts: [
        { name: 'sh', shell: '/bin/sh' },
        { name: 'bash', shell: '/bin/bash' },
        { name: 'noisy', shell: '/bin/bash', files: { '.bashrc': 'echo "Welcome! The command is $BASH_EXECUTION_STRING"; printf "no newline here"; echo complaint >&2\n' } },
        { name: 'fish', shell: '/usr/bin/fish' },
        { name: 'csh', shell: '/bin/csh' },
      ],
    });
  });

  afterAll(async () => {
    await sshd.close();
  });

  it.each(['sh', 'bash', 'noisy', 'fish', 'csh'] as const)('work for an account whose shell is %s, and leave no process', (name) =>
    withTree({}, async ({ master }) => {
      const { username } = sshd.accounts[name];
      const context = master.ssh({ host: sshd.host, port: sshd.port, username, identityFile: sshd.userKey, knownHosts: sshd.knownHosts, sshConfig: false, agent: false, nodePath: process.execPath });
      const before = sshd.processes().length;
      expect(await first(context.call(tasks.greet, name))).toBe(`hello ${name}`);
      const { title } = await first(context.call(tasks.whereAmI));
      expect(title).toContain(username);
      const large = new Uint8Array(3_000_000).fill(1);
      expect(await first(context.call(tasks.sumBytes, large))).toBe(3_000_000);
      await context.shutdown();
      for (let turn = 0; turn < 100 && sshd.processes().length > before; turn++) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(sshd.processes().length).toBeLessThanOrEqual(before);
    }),
  );

  it('say that Node is missing there', () =>
    withTree({}, async ({ master }) => {
      for (const name of ['sh', 'fish', 'csh'] as const) {
        const { username } = sshd.accounts[name];
        const error = await failure(master.ssh({ host: sshd.host, port: sshd.port, username, identityFile: sshd.userKey, knownHosts: sshd.knownHosts, sshConfig: false, agent: false, nodePath: 'no-such-node' }).connected);
        expect(error.code).toBe('ERR_TENDRIL_NODE_MISSING');
      }
    }));

  it('a child whose user code hangs is ended when the connection is cut', () =>
    withTree({}, async ({ master }) => {
      const { username, password } = sshd.accounts.bash;
      const context = master.ssh({ host: sshd.host, port: sshd.port, username, password: new Secret(password), knownHosts: sshd.knownHosts, sshConfig: false, agent: false, nodePath: process.execPath });
      await first(context.connected);
      context.call(tasks.spin).subscribe({ error: () => undefined });
      await context.shutdown();
      expect(await first(context.closed)).toMatchObject({ reason: 'shutdown' });
    }));
});
