import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { firstValueFrom, map } from 'rxjs';
import { firstStage } from '../src/parent/bootstrap/first-stage.ts';
import { classifyExit } from '../src/parent/connection/classify-exit.ts';
import { openSsh } from '../src/parent/connection/ssh/ssh.ts';
import type { SshOptions } from '../src/parent/connection/ssh/ssh.ts';
import type { FirstStage } from '../src/parent/connection/transport.ts';
import { generateKeyPair } from '../src/testing/ssh-server.ts';
import { CountingBroker } from './support/counting-broker.ts';
import { findProgram, needs } from './support/needs.ts';
import { leftResources, openResources } from './support/resources.ts';
import { failureOf, finish, open, textOf } from './support/ssh.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import type { Sshd } from './support/sshd.ts';

const NOISE = 'Welcome! EC0 is what this host likes to say. ';

/** Login shells; the quoting and the texts of each are different. */
const SHELLS = ['sh', 'bash', 'fish', 'csh'].filter((shell) => findProgram(shell) !== undefined);

/** A core that answers, writes to stdout and stderr in every way, and echoes what follows it. */
const ECHO_CORE = `(function (require, compressed) {
  var fs = require('fs'), net = require('net');
  fs.writeSync(4, 'EC' + 1 + ' ' + compressed.length + ';');
  console.log('a line of console.log');
  require('child_process').spawnSync('sh', ['-c', 'echo a line of a subprocess; echo and of its stderr >&2'], { stdio: 'inherit' });
  var input = new net.Socket({ fd: 3, readable: true, writable: false, allowHalfOpen: true });
  var output = new net.Socket({ fd: 4, readable: false, writable: true, allowHalfOpen: true });
  input.pipe(output);
})`;

needs(...SSHD_NEEDS)('over a real sshd', () => {
  let sshd: Sshd;
  let broker: CountingBroker;
  let before: Readonly<Record<string, number>>;

  beforeAll(async () => {
    sshd = await startSshd({
      accounts: [
        ...SHELLS.map((shell) => ({ name: shell, shell: findProgram(shell) ?? '' })),
        { name: 'noisy', shell: '/bin/bash', files: { '.bashrc': `printf '%s' "${NOISE}" "$BASH_EXECUTION_STRING"; echo noise on stderr >&2\n` } },
        { name: 'nologin', shell: '/usr/sbin/nologin' },
      ],
      hostKeyTypes: ['ed25519', 'ecdsa', 'rsa'],
    });
  });
  afterAll(async () => {
    const { directory, accounts } = sshd;
    await sshd.close();
    expect(sshd.processes()).toEqual([]);
    expect(existsSync(directory)).toBe(false);
    for (const { username } of Object.values(accounts)) expect(readFileSync('/etc/passwd', 'utf8')).not.toContain(username);
  });
  beforeEach(() => {
    broker = new CountingBroker();
    before = openResources();
  });
  afterEach(async () => {
    expect(await leftResources(before)).toEqual({});
    expect(broker.pendingTimers).toBe(0);
    expect(broker.reported).toEqual([]);
    expect(await leftProcesses()).toEqual([]);
  });

  /** Processes of sessions that are still there when sshd had the time to end them. */
  async function leftProcesses(): Promise<number[]> {
    for (let round = 0; round < 400 && sshd.processes().length > 0; round++) {
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
    return sshd.processes();
  }

  /** Options that enter an account by key. */
  function login(name: string, more: Partial<SshOptions> = {}): SshOptions {
    return { host: sshd.host, port: sshd.port, username: sshd.accounts[name]?.username ?? '', identityFile: sshd.userKey, knownHosts: sshd.knownHosts, agent: false, sshConfig: false, ...more };
  }

  function byPassword(name: string, password = sshd.accounts[name]?.password ?? ''): SshOptions {
    const { identityFile, ...rest } = login(name, { password });
    expect(identityFile).toBe(sshd.userKey);
    return rest;
  }

  /** Runs the echo core behind a first stage and gives it bytes back to back with the core. */
  async function echo(stage: FirstStage, options: SshOptions): Promise<{ noise: string; version: string; same: boolean; output: string; code: number | null }> {
    const transport = await firstValueFrom(openSsh(options, stage, broker));
    const data = randomBytes(200_000);
    const core = deflateRawSync(ECHO_CORE);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(core.length);
    const output = textOf(transport.output.pipe(map(({ bytes }) => bytes)));
    let received = Buffer.alloc(0);
    let started = false;
    await new Promise<void>((resolve, reject) => {
      transport.link.chunks.subscribe({
        next: (chunk) => {
          received = Buffer.concat([received, chunk]);
          if (started || !/EC0 v\S+?;/.test(received.toString('latin1'))) return;
          started = true;
          // Behind the core an empty code cache.
          transport.link.write([length, core, Buffer.alloc(4), data]);
          transport.link.end();
        },
        complete: resolve,
        error: reject,
      });
    });
    const text = received.toString('latin1');
    const marks = /EC0 (v[^;]+);EC1 (\d+);/.exec(text);
    const after = (marks?.index ?? 0) + (marks?.[0].length ?? 0);
    expect(marks?.[2]).toBe(String(core.length));
    return { noise: text.slice(0, marks?.index), version: marks?.[1] ?? '', same: received.subarray(after).equals(data), output: await output, code: (await firstValueFrom(transport.exited)).code };
  }

  it.each(SHELLS)('runs the first stage in an account whose login shell is %s', async (shell) => {
    const result = await echo(firstStage('tendril:test (from a test)'), login(shell));
    expect(result).toMatchObject({ noise: '', version: process.version, same: true, code: 0 });
    expect(result.output).toContain('a line of console.log\n');
    expect(result.output).toContain('a line of a subprocess\nand of its stderr\n');
  });

  it('finds the marker behind a noisy login that echoes the command', async () => {
    const result = await echo(firstStage('tendril:test'), login('noisy'));
    expect(result).toMatchObject({ same: true, code: 0 });
    expect(result.noise.startsWith(NOISE)).toBe(true);
    expect(result.noise).toContain('exec sh -c');
    expect(result.output).toContain('noise on stderr\n');
  });

  it.each([...SHELLS, 'noisy'])('says that Node is missing, or may not be run, in %s', async (shell) => {
    for (const [node, reason] of [['node-that-is-not-there', 'NODE_MISSING'], ['/opt/none/node', 'NODE_MISSING'], ['/etc/passwd', 'PERMISSION_DENIED']] as const) {
      const { stdout, stderr, exit } = await finish(await firstValueFrom(openSsh(login(shell), firstStage('t', node), broker)));
      expect(classifyExit({ phase: 'first-stage', output: stdout + stderr, exit })).toMatchObject({ reason, message: expect.stringContaining(node) });
    }
  });

  it('says that an account may not log in', async () => {
    const { stdout, stderr, exit } = await finish(await firstValueFrom(openSsh(login('nologin'), firstStage('t'), broker)));
    expect(classifyExit({ phase: 'first-stage', output: stdout + stderr, exit })).toMatchObject({ reason: 'PERMISSION_DENIED' });
  });

  it('enters by password, and refuses a wrong one', async () => {
    expect((await finish(await open(byPassword('sh'), 'id -un', broker))).stdout).toBe(`${sshd.accounts['sh']?.username ?? ''}\n`);
    const error = await failureOf(byPassword('sh', 'wrong'), broker);
    expect(error).toMatchObject({ reason: 'AUTH_FAILED', phase: 'authentication', message: expect.stringMatching(/tried: password; the server accepts: publickey, password; set/) });
  });

  it('refuses a key that the account does not know', async () => {
    expect(await failureOf({ ...byPassword('sh', 'wrong'), privateKey: (await generateKeyPair()).privateKey }, broker)).toMatchObject({ reason: 'AUTH_FAILED', message: expect.stringContaining('tried: key of option privateKey, password') });
  });

  it.each(['ed25519', 'ecdsa', 'rsa'])('knows the host by its %s key alone', async (type) => {
    const knownHosts = join(sshd.directory, `known_${type}`);
    writeFileSync(knownHosts, `${sshd.hostKeyLines[type] ?? ''}\n`);
    execFileSync('ssh-keygen', ['-q', '-H', '-f', knownHosts], { stdio: 'ignore' });
    expect(readFileSync(knownHosts, 'utf8')).toMatch(/^\|1\|/);
    expect((await finish(await open(login('sh', { knownHosts }), 'echo in', broker))).stdout).toBe('in\n');
  });

  it('tells an unknown, a changed and a revoked host key apart', async () => {
    const knownHosts = join(sshd.directory, 'known_test');
    const check = async (text: string): Promise<unknown> => {
      writeFileSync(knownHosts, text);
      return (await failureOf(login('sh', { knownHosts }), broker)).reason;
    };
    const [name, ...own] = (sshd.hostKeyLines['ed25519'] ?? '').split(' ');
    expect(await check('')).toBe('HOST_KEY_UNKNOWN');
    expect(await check(`${name ?? ''} ${(await generateKeyPair()).publicKey}\n`)).toBe('HOST_KEY_CHANGED');
    expect(await check(`@revoked * ${own.join(' ')}\n${sshd.hostKeyLines['ed25519'] ?? ''}\n`)).toBe('HOST_KEY_REVOKED');
  });

  needs('ssh')('beside the ssh client', () => {
    it('writes known hosts that ssh takes, and takes those that ssh writes', async () => {
      const ours = join(sshd.directory, 'known_ours');
      const theirs = join(sshd.directory, 'known_theirs');
      const ssh = (file: string, strict: string): string =>
        execFileSync('ssh', ['-F', 'none', '-T', '-p', String(sshd.port), '-l', sshd.accounts['sh']?.username ?? '', '-i', sshd.userKey, '-o', `UserKnownHostsFile=${file}`, '-o', `StrictHostKeyChecking=${strict}`, '-o', 'HashKnownHosts=yes', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR', sshd.host, 'echo in'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
      expect((await finish(await open(login('sh', { knownHosts: ours, hostKeys: 'accept-new' }), 'echo in', broker))).stdout).toBe('in\n');
      expect(ssh(ours, 'yes')).toBe('in\n');
      expect(ssh(theirs, 'accept-new')).toBe('in\n');
      expect((await finish(await open(login('sh', { knownHosts: theirs }), 'echo in', broker))).stdout).toBe('in\n');
    });
  });

  it('gives exit statuses and signals', async () => {
    expect((await finish(await open(login('sh'), 'exit 42', broker))).exit).toEqual({ code: 42, signal: null });
    expect((await finish(await open(login('sh'), 'kill -9 $$', broker))).exit).toEqual({ code: null, signal: 'SIGKILL' });
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)('kill(%s) reaches the process', async (signal) => {
    const transport = await open(login('sh'), 'echo up; exec sleep 1000', broker);
    transport.output.subscribe();
    // SIGKILL must work on a process that has only just been started, too.
    if (signal === 'SIGTERM') await firstValueFrom(transport.link.chunks);
    const stdout = textOf(transport.link.chunks);
    transport.kill(signal);
    const exit = await firstValueFrom(transport.exited);
    if (signal === 'SIGTERM') expect(exit).toEqual({ code: null, signal });
    await stdout;
  });

  it('kills a process that heeds neither SIGTERM nor end of file', async () => {
    const transport = await open(login('sh'), 'trap "" TERM; echo up; while :; do sleep 0.05; done', broker);
    transport.output.subscribe();
    await firstValueFrom(transport.link.chunks);
    transport.kill('SIGKILL');
    await firstValueFrom(transport.exited);
  });

  it('gives end of file to the process when the link is destroyed', async () => {
    const transport = await open(login('sh'), 'exec cat', broker);
    transport.link.destroy();
    await firstValueFrom(transport.exited);
  });

  it('carries 8 MB there and back unchanged', async () => {
    const transport = await open(login('sh'), 'exec cat', broker);
    const data = randomBytes(8 * 1024 * 1024);
    const parts: Uint8Array[] = [];
    const done = new Promise<void>((resolve, reject) => transport.link.chunks.subscribe({ next: (chunk) => parts.push(chunk), complete: resolve, error: reject }));
    transport.output.subscribe();
    transport.link.write([data]);
    transport.link.end();
    await done;
    expect(Buffer.concat(parts).equals(data)).toBe(true);
  });

  describe('that is strict', () => {
    let strict: Sshd<'sh'>;
    beforeAll(async () => {
      strict = await startSshd({ accounts: [{ name: 'sh', shell: '/bin/sh' }], config: ['MaxAuthTries 1', 'MaxSessions 0', 'Banner none'] });
    });
    afterAll(() => strict.close());

    const enter = (more: Partial<SshOptions>): SshOptions => ({ host: strict.host, port: strict.port, username: strict.accounts.sh.username, knownHosts: strict.knownHosts, agent: false, sshConfig: false, ...more });

    it('reports that it tried too often', async () => {
      const privateKey = (await generateKeyPair()).privateKey;
      expect(await failureOf(enter({ privateKey, password: strict.accounts.sh.password }), broker)).toMatchObject({ reason: 'AUTH_FAILED', phase: 'authentication', message: expect.stringContaining('Too many authentication failures') });
    });

    it('reports that no session may be opened', async () => {
      expect(await failureOf(enter({ identityFile: strict.userKey }), broker)).toMatchObject({ reason: 'PERMISSION_DENIED', phase: 'command', message: expect.stringContaining('MaxSessions') });
    });

    it('notices that the server has been killed', async () => {
      const victim = await startSshd({ accounts: [{ name: 'sh', shell: '/bin/sh' }] });
      try {
        const transport = await open({ ...enter({}), port: victim.port, username: victim.accounts.sh.username, identityFile: victim.userKey, knownHosts: victim.knownHosts }, 'exec sleep 1000', broker);
        transport.output.subscribe();
        const stdout = textOf(transport.link.chunks);
        await victim.close();
        expect((await firstValueFrom(transport.exited)).code).toBeNull();
        expect(await stdout).toBe('');
      } finally {
        await victim.close();
      }
    });
  });
});
