import { execFile, execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { ConnectedContext, Master } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { processTable } from './support/accounts.ts';
import { needs } from './support/needs.ts';
import { makeRootfs } from './support/rootfs.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const run = promisify(execFile);
const NAME = `tendril-${randomBytes(4).toString('hex')}`;

/** Processes that are called as contexts of this test are. */
function contexts(): string[] {
  return [...processTable().keys()].flatMap((pid) => {
    try {
      const line = readFileSync(`/proc/${String(pid)}/cmdline`, 'latin1');
      return line.startsWith(`tendril:${NAME}`) ? [line] : [];
    } catch {
      return [];
    }
  });
}

/** What every container does: who it is, bytes there and back, and an end that leaves nothing. */
async function works(make: (master: Master, name: string) => ConnectedContext, expected: Partial<place.Identity>): Promise<void> {
  await withTree({}, async ({ master }) => {
    const kid = make(master, `${NAME}-kid`);
    expect(await first(kid.call(place.whoAmI))).toMatchObject(expected);
    expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
    expect(contexts()).not.toEqual([]);
  });
  for (let round = 0; round < 200 && contexts().length > 0; round++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(contexts()).toEqual([]);
}

async function fails(make: (master: Master) => ConnectedContext): Promise<Error & { code?: string }> {
  let error: (Error & { code?: string }) | undefined;
  await withTree({}, async ({ master }) => {
    error = await failure(make(master).connected);
  });
  return error!;
}

needs('root', 'ldd', 'mknod')('containers', () => {
  let directory: string;
  let rootfs: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tendril-containers-'));
    rootfs = join(directory, 'rootfs');
    makeRootfs(rootfs);
  });
  afterAll(() => {
    rmSync(directory, { recursive: true });
  });

  needs('chroot')('chroot', () => {
    watchForLeaks();

    it('runs in another root directory, as any account', async () => {
      await works((master, name) => master.chroot({ directory: rootfs, name, nodePath: '/usr/bin/node' }), { uid: 0, cwd: '/' });
      await works((master, name) => master.chroot({ directory: rootfs, username: '1000:1000', name, nodePath: '/usr/bin/node' }), { uid: 1000, user: 'app' });
    });

    it('says what is missing', async () => {
      expect(await fails((master) => master.chroot({ directory: join(directory, 'none') }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING' });
      expect(await fails((master) => master.chroot({ directory: rootfs, username: 'tendril-no-one' }))).toMatchObject({ code: 'ERR_TENDRIL_USER_UNKNOWN' });
      expect(await fails((master) => master.chroot({ directory: rootfs, nodePath: '/usr/bin/nodexx' }))).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
      const empty = mkdtempSync(join(directory, 'empty-'));
      expect(await fails((master) => master.chroot({ directory: empty }))).toMatchObject({ code: 'ERR_TENDRIL_CONNECT_EOF', message: expect.stringContaining('no POSIX shell') });
    });
  });

  needs('nsenter', 'unshare')('nsenter', () => {
    watchForLeaks();
    let holder: ChildProcess;

    beforeAll(async () => {
      holder = spawn('unshare', ['--uts', '--mount', '--net', '--ipc', 'sh', '-c', 'hostname tendril-inside; echo up; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'ignore'] });
      await once(holder.stdout!, 'data');
    });
    afterAll(async () => {
      const gone = once(holder, 'close');
      holder.kill('SIGKILL');
      await gone;
    });

    it('enters the namespaces of a process', async () => {
      await works((master, name) => master.nsenter({ pid: holder.pid!, name, nodePath: process.execPath }), { uid: 0 });
      await withTree({}, async ({ master }) => {
        const kid = master.nsenter({ pid: holder.pid!, namespaces: ['uts', 'net'], nodePath: process.execPath });
        expect((await first(kid.call(tasks.whereAmI))).host).toBe('tendril-inside');
        expect(await first(kid.call(place.interfaces))).toEqual([]);
      });
    });

    it('says that the process is not there', async () => {
      expect(await fails((master) => master.nsenter({ pid: 0x7fff_fff0 }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING' });
    });
  });

  needs('podman', 'runc')('podman', () => {
    watchForLeaks();
    // The default limits of Podman need a right that containers lack, and crun a version 2 of cgroups.
    const engine = ['--runtime', 'runc'];
    const start = (name: string): Promise<unknown> => run('podman', [...engine, 'run', '-d', '--name', name, '--network=none', '--ulimit', 'nofile=20000:20000', '--ulimit', 'nproc=2000:2000', '--rootfs', rootfs, '/bin/sleep', '1000']);

    beforeAll(() => start(NAME));
    afterAll(() => run('podman', [...engine, 'rm', '-f', '-t', '0', NAME]));

    it('runs in a container, as any account', async () => {
      const options = { container: NAME, podmanArgs: engine };
      await works((master, name) => master.podman({ ...options, name }), { uid: 0, cwd: '/' });
      await works((master, name) => master.podman({ ...options, username: 'app', workdir: '/tmp', name }), { uid: 1000, user: 'app', cwd: '/tmp' });
    });

    it('tells what is missing apart', async () => {
      const options = { container: NAME, podmanArgs: engine };
      expect(await fails((master) => master.podman({ ...options, container: 'tendril-none' }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING' });
      expect(await fails((master) => master.podman({ ...options, username: 'nouser' }))).toMatchObject({ code: 'ERR_TENDRIL_USER_UNKNOWN' });
      expect(await fails((master) => master.podman({ ...options, nodePath: 'nodexx' }))).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
      const stopped = `${NAME}-stopped`;
      await start(stopped);
      await run('podman', [...engine, 'stop', '-t', '0', stopped]);
      expect(await fails((master) => master.podman({ ...options, container: stopped }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_STOPPED' });
      await run('podman', [...engine, 'rm', '-f', stopped]);
    });
  });

  needs('docker', 'dockerd', 'tar')('docker', () => {
    watchForLeaks();
    let daemon: ChildProcess;
    let docker: string[];
    const ulimits = ['--default-ulimit', 'nofile=20000:20000', '--default-ulimit', 'nproc=2000:2000'];

    beforeAll(async () => {
      const home = join(directory, 'docker');
      const socket = `unix://${home}/sock`;
      daemon = spawn('dockerd', ['--iptables=false', '--bridge=none', '--storage-driver', 'vfs', ...ulimits, '--data-root', `${home}/data`, '--exec-root', `${home}/exec`, '--pidfile', `${home}/pid`, '-H', socket], { stdio: 'ignore' });
      docker = ['--host', socket];
      for (let round = 0; round < 400 && !existsSync(`${home}/sock`); round++) await new Promise((resolve) => setTimeout(resolve, 25));
      for (let round = 0; round < 400; round++) {
        if (await run('docker', [...docker, 'version']).then(() => true, () => false)) break;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      execFileSync('sh', ['-c', `tar -C "$0" -c . | docker --host "$1" import - tendril-test`, rootfs, socket], { stdio: 'ignore' });
      await run('docker', [...docker, 'run', '-d', '--name', NAME, '--network=none', 'tendril-test', '/bin/sleep', '1000']);
    });
    afterAll(async () => {
      await run('docker', [...docker, 'rm', '-f', NAME]);
      const gone = once(daemon, 'close');
      daemon.kill('SIGTERM');
      await gone;
    });

    it('runs in a container, as any account', async () => {
      const options = { container: NAME, dockerArgs: docker };
      await works((master, name) => master.docker({ ...options, name }), { uid: 0, cwd: '/' });
      await works((master, name) => master.docker({ ...options, username: 'app', workdir: '/tmp', name }), { uid: 1000, user: 'app', cwd: '/tmp' });
    });

    it('runs an image in a container that goes away', async () => {
      await works((master, name) => master.docker({ image: 'tendril-test', dockerArgs: docker, execArgs: ['--network=none'], name }), { uid: 0 });
      for (let round = 0; round < 400; round++) {
        if (!(await run('docker', [...docker, 'ps', '-aq'])).stdout.trim().includes('\n')) break;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      expect((await run('docker', [...docker, 'ps', '-a', '--format', '{{.Names}}'])).stdout.trim()).toBe(NAME);
    });

    it('tells what is missing apart', async () => {
      const options = { container: NAME, dockerArgs: docker };
      expect(await fails((master) => master.docker({ ...options, container: 'tendril-none' }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING' });
      expect(await fails((master) => master.docker({ ...options, username: 'nouser' }))).toMatchObject({ code: 'ERR_TENDRIL_USER_UNKNOWN' });
      expect(await fails((master) => master.docker({ ...options, nodePath: 'nodexx' }))).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
      expect(await fails((master) => master.docker({ ...options, dockerArgs: ['--host', 'unix:///nonexistent'] }))).toMatchObject({ code: 'ERR_TENDRIL_REFUSED' });
      const stopped = `${NAME}-stopped`;
      await run('docker', [...docker, 'create', '--name', stopped, '--network=none', 'tendril-test', '/bin/sleep', '1000']);
      expect(await fails((master) => master.docker({ ...options, container: stopped }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_STOPPED' });
      await run('docker', [...docker, 'rm', '-f', stopped]);
    });
  });

  needs('lxc-start', 'lxc-attach')('lxc', () => {
    watchForLeaks();
    const lxcPath = (): string => join(directory, 'lxc');

    beforeAll(async () => {
      const config = ['lxc.uts.name = tendril-lxc', `lxc.rootfs.path = dir:${rootfs}`, 'lxc.net.0.type = empty', 'lxc.init.cmd = /bin/sleep 1000', 'lxc.mount.auto = proc:rw sys:ro', 'lxc.pty.max = 4', ''];
      execFileSync('mkdir', ['-p', join(lxcPath(), NAME)]);
      writeFileSync(join(lxcPath(), NAME, 'config'), config.join('\n'));
      await run('lxc-start', ['-P', lxcPath(), '-n', NAME, '-d', '-o', join(lxcPath(), 'log'), '-l', 'INFO']);
    });
    afterAll(() => run('lxc-stop', ['-P', lxcPath(), '-n', NAME, '-k']));

    it('runs in a container', () => works((master, name) => master.lxc({ container: NAME, lxcPath: lxcPath(), name, nodePath: '/usr/bin/node' }), { uid: 0 }));

    it('says that the container is not there (REFERENCE 227)', async () => {
      expect(await fails((master) => master.lxc({ container: 'tendril-none', lxcPath: lxcPath() }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING', message: expect.stringContaining('lxc-ls') });
    });
  });
});

describe('kubectl, by a program that behaves as kubectl exec does', () => {
  watchForLeaks();
  let directory: string;
  let kubectlPath: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tendril-kubectl-'));
    kubectlPath = join(directory, 'kubectl');
    // Real: stdin and stdout as they are, stderr apart, the exit status of the command in a message and its own.
    writeFileSync(kubectlPath, `#!/bin/sh
pod=
while [ "$1" != -- ]; do case "$1" in --stdin|exec|--*=*) ;; *) pod=$1;; esac; shift; done
shift
case "$pod" in
  web-0) echo 'Defaulted container "app" out of: app, sidecar' >&2;;
  *) echo "Error from server (NotFound): pods \\"$pod\\" not found" >&2; exit 1;;
esac
"$@"
code=$?
[ $code = 0 ] || { echo "command terminated with exit code $code" >&2; exit $code; }
`, { mode: 0o755 });
  });
  afterAll(() => {
    rmSync(directory, { recursive: true });
  });
  afterEach(() => {
    expect(contexts()).toEqual([]);
  });

  it('runs in a pod', () => works((master, name) => master.kubectl({ pod: 'web-0', namespace: 'prod', kubectlPath, name, nodePath: process.execPath }), { cwd: process.cwd() }));

  it('tells what is missing apart', async () => {
    expect(await fails((master) => master.kubectl({ pod: 'nope', kubectlPath }))).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING' });
    expect(await fails((master) => master.kubectl({ pod: 'web-0', kubectlPath, nodePath: 'nodexx' }))).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
    expect(await fails((master) => master.kubectl({ pod: 'web-0', kubectlPath: '/nonexistent/kubectl' }))).toMatchObject({ code: 'ERR_TENDRIL_PROGRAM_MISSING', message: expect.stringContaining('kubectlPath') });
  });
});
