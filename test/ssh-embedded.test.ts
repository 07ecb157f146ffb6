import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { firstValueFrom } from 'rxjs';
import ssh2 from 'ssh2';
import { Secret } from '../src/core/wire/secret.ts';
import { timeoutError } from '../src/parent/connection/ssh/classify.ts';
import { parseIdentity } from '../src/parent/connection/ssh/identities.ts';
import { loadSsh2 } from '../src/parent/connection/ssh/ssh2.ts';
import { openSsh } from '../src/parent/connection/ssh/ssh.ts';
import type { SshOptions } from '../src/parent/connection/ssh/ssh.ts';
import { generateKeyPair, startSshServer } from '../src/testing/ssh-server.ts';
import type { SshServer, SshServerOptions } from '../src/testing/ssh-server.ts';
import { CountingBroker } from './support/counting-broker.ts';
import { needs } from './support/needs.ts';
import { leftResources, openResources } from './support/resources.ts';
import { failureOf, finish, open, stageOf, textOf } from './support/ssh.ts';

const PASSWORD = 'a password that no error may show';
const PASSPHRASE = 'a passphrase that no error may show';
const key = await generateKeyPair();
const encryptedKey = await generateKeyPair('ed25519', PASSPHRASE);

let directory: string;
let broker: CountingBroker;
let before: Readonly<Record<string, number>>;
let closers: (() => Promise<unknown>)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tendril-test-'));
  broker = new CountingBroker();
  before = openResources();
  closers = [];
});

afterEach(async () => {
  await Promise.all(closers.map((close) => close()));
  rmSync(directory, { recursive: true, force: true });
  expect(await leftResources(before)).toEqual({});
  expect(broker.pendingTimers).toBe(0);
  expect(broker.reported).toEqual([]);
});

/** A server, and options that enter it by password with its key known. */
async function start(options: Partial<SshServerOptions> = {}): Promise<{ server: SshServer; login: SshOptions; knownHosts: string }> {
  const server = await startSshServer({ users: { deploy: { password: PASSWORD, publicKeys: [key.publicKey, encryptedKey.publicKey] } }, ...options });
  closers.push(() => server.close());
  const knownHosts = file('known_hosts', `${server.knownHostsLine}\n`);
  return { server, knownHosts, login: { host: server.host, port: server.port, username: 'deploy', knownHosts, agent: false, sshConfig: false, password: PASSWORD } };
}

/** The same options without the password. */
function without(login: SshOptions): SshOptions {
  const { password, ...rest } = login;
  expect(password).toBe(PASSWORD);
  return rest;
}

function file(name: string, contents: string): string {
  const path = join(directory, name);
  writeFileSync(path, contents, { mode: 0o600 });
  return path;
}

/** A TCP server that is no ssh server. */
async function listen(onConnection: (socket: Socket) => void): Promise<{ server: Server; port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return { server, port: (server.address() as AddressInfo).port, sockets };
}

const NOWHERE: SshOptions = { host: '127.0.0.1', username: 'deploy', password: PASSWORD, hostKeys: 'ignore', agent: false, sshConfig: false };

describe('a transport over ssh', () => {
  it('carries stdin, stdout, stderr and the exit status of a real process', async () => {
    const { login, server } = await start();
    const outcome = await finish(await open(login, 'cat; echo to stderr >&2; exit 42', broker), 'hello');
    expect(outcome).toEqual({ stdout: 'hello', stderr: 'to stderr\n', exit: { code: 42, signal: null } });
    expect(server.processes).toEqual([]);
  });

  it('tells the signal that ended a process', async () => {
    const { login } = await start();
    expect((await finish(await open(login, 'kill -9 $$', broker))).exit).toEqual({ code: null, signal: 'SIGKILL' });
  });

  it('carries 8 MB there and back unchanged, with the drained signal of the link', async () => {
    const { login } = await start();
    const transport = await open(login, 'cat', broker);
    transport.output.subscribe();
    const data = Buffer.alloc(8 * 1024 * 1024, 'every bit of it; ');
    const echoed = textOf(transport.link.chunks);
    for (let at = 0; at < data.length; at += 1024 * 1024) {
      transport.link.write([data.subarray(at, at + 1024 * 1024)]);
      await firstValueFrom(transport.link.drained);
    }
    expect(transport.link.pendingBytes).toBe(0);
    transport.link.end();
    expect((await echoed) === data.toString()).toBe(true);
    expect(await firstValueFrom(transport.exited)).toEqual({ code: 0, signal: null });
  });

  it('keeps the output until somebody subscribes, and reads on when nobody does any more', async () => {
    const { login } = await start();
    const transport = await open(login, 'echo early >&2; read line; head -c 6000000 /dev/zero >&2; echo done', broker);
    const first = await firstValueFrom(transport.output);
    expect(Buffer.from(first.bytes).toString()).toBe('early\n');
    expect(first.stream).toBe('stdio');
    const rest = textOf(transport.link.chunks);
    transport.link.write([Buffer.from('go\n')]);
    expect(await rest).toBe('done\n');
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)('kill(%s) ends the process and the connection', async (signal) => {
    const { login, server } = await start();
    const transport = await open(login, 'echo up; exec sleep 1000', broker);
    transport.output.subscribe();
    if (signal === 'SIGTERM') await firstValueFrom(transport.link.chunks);
    const text = textOf(transport.link.chunks);
    expect(server.processes).toHaveLength(1);
    transport.kill(signal);
    transport.kill(signal);
    const exit = await firstValueFrom(transport.exited);
    if (signal === 'SIGTERM') expect(exit).toEqual({ code: null, signal: 'SIGTERM' });
    await text;
    transport.kill(signal);
    expect(await leftClients(server)).toBe(0);
  });

  it('kills a process that does not heed SIGTERM', async () => {
    const { login, server } = await start();
    const transport = await open(login, 'trap "" TERM; echo up; while :; do sleep 1; done', broker);
    await firstValueFrom(transport.link.chunks);
    transport.kill('SIGTERM');
    await firstValueFrom(transport.exited);
    expect(await leftClients(server)).toBe(0);
  });

  it('ends the connection when its link is destroyed, even when nobody has read anything', async () => {
    const { login, server } = await start();
    const transport = await open(login, 'head -c 100000 /dev/zero; exec sleep 1000', broker);
    transport.link.destroy();
    await firstValueFrom(transport.exited);
    expect(await leftClients(server)).toBe(0);
  });

  it('completes everything when the connection is lost', async () => {
    const { login, server } = await start();
    const transport = await open(login, 'exec sleep 1000', broker);
    const stdout = textOf(transport.link.chunks);
    transport.link.write([Buffer.alloc(6 * 1024 * 1024)]);
    const drained = firstValueFrom(transport.link.drained);
    server.dropClients();
    expect(await firstValueFrom(transport.exited)).toEqual({ code: null, signal: null });
    expect(await stdout).toBe('');
    await drained;
    expect((await finish(transport)).exit).toEqual({ code: null, signal: null });
  });

  it('notices by keepalive that the network has fallen silent', async () => {
    const { login, server } = await start();
    const proxy = await listen((socket) => {
      const onward = connect(server.port, '127.0.0.1');
      onward.on('error', () => undefined).on('close', () => socket.destroy());
      socket.on('close', () => onward.destroy());
      socket.pipe(onward).pipe(socket);
    });
    const transport = await open({ ...login, port: proxy.port, hostKeys: 'ignore', keepaliveIntervalMs: 20, keepaliveCountMax: 1 }, 'exec sleep 1000', broker);
    transport.output.subscribe();
    const stdout = textOf(transport.link.chunks);
    for (const socket of proxy.sockets) socket.unpipe().pause();
    expect(await firstValueFrom(transport.exited)).toEqual({ code: null, signal: null });
    expect(await stdout).toBe('');
  });
});

/** Clients of a server once it had time to notice that they went. */
async function leftClients(server: SshServer): Promise<number> {
  for (let round = 0; round < 600 && (server.clients > 0 || server.processes.length > 0); round++) {
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
  return server.clients + server.processes.length;
}

describe('authentication', () => {
  it('by a key given as text, bytes or a Secret (REFERENCE 219)', async () => {
    const { login } = await start({ methods: ['publickey'] });
    for (const privateKey of [key.privateKey, Buffer.from(key.privateKey), new Secret(key.privateKey)]) {
      expect((await finish(await open({ ...without(login), privateKey }, 'echo in', broker))).stdout).toBe('in\n');
    }
  });

  it.each(['rsa', 'ecdsa'] as const)('by a key of type %s, for a host with a key of that type', async (type) => {
    const pair = await generateKeyPair(type);
    const { login } = await start({ users: { deploy: { publicKeys: [pair.publicKey] } }, hostKey: (await generateKeyPair(type)).privateKey });
    expect((await finish(await open({ ...without(login), privateKey: pair.privateKey }, 'echo in', broker))).stdout).toBe('in\n');
  });

  it('by an encrypted key file, parsed once', async () => {
    const { login } = await start({ methods: ['publickey'] });
    const identityFile = file('id', encryptedKey.privateKey);
    for (const passphrase of [PASSPHRASE, new Secret(PASSPHRASE)]) {
      expect((await finish(await open({ ...without(login), identityFile, passphrase }, 'echo in', broker))).stdout).toBe('in\n');
    }
    const parse = (): unknown => parseIdentity(ssh2, readFileSync(identityFile), PASSPHRASE, 'x');
    expect((parse() as { key: unknown }).key).toBe((parse() as { key: unknown }).key);
  });

  it.each([
    ['that is encrypted, without a passphrase', encryptedKey.privateKey, undefined, /encrypted and no passphrase/],
    ['with a wrong passphrase', encryptedKey.privateKey, `wrong ${PASSPHRASE}`, /passphrase does not fit/],
    ['that is none', 'not a key', undefined, /not a private key/],
    ['that is public', key.publicKey, undefined, /public key/],
  ])('refuses a key file %s', async (_what, contents, passphrase, message) => {
    const identityFile = file('id', contents);
    const error = await failureOf({ ...NOWHERE, port: 1, identityFile, ...(passphrase === undefined ? {} : { passphrase }) }, broker);
    expect(error).toMatchObject({ reason: 'BAD_KEY', code: 'ERR_TENDRIL_BAD_KEY' });
    expect(error.message).toMatch(message);
    expect(error.message).toContain(identityFile);
    expect(inspect(error)).not.toContain(PASSPHRASE);
  });

  it('refuses a key file that is not there', async () => {
    const error = await failureOf({ ...NOWHERE, port: 1, identityFile: join(directory, 'none') }, broker);
    expect(error).toMatchObject({ reason: 'BAD_KEY', message: expect.stringMatching(/none cannot be used: it cannot be read \(ENOENT\)/) });
  });

  it('says what it tried after a wrong password, and not the password (REFERENCE 219)', async () => {
    const { login } = await start({ banner: 'Authorised\u001b users only' });
    const error = await failureOf({ ...login, password: `wrong ${PASSWORD}`, privateKey: (await generateKeyPair()).privateKey }, broker);
    expect(error).toMatchObject({ reason: 'AUTH_FAILED', phase: 'authentication', output: 'Authorised\ufffd users only\n' });
    expect(error.message).toMatch(/deploy@127\.0\.0\.1:\d+ did not let us in; tried: key of option privateKey, password, keyboard-interactive; the server accepts: publickey, password, keyboard-interactive; set /);
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(PASSWORD);
  });

  it('fails for an unknown user and without anything to try (REFERENCE 219)', async () => {
    const { login } = await start();
    expect(await failureOf({ ...login, username: 'nobody' }, broker)).toMatchObject({ reason: 'AUTH_FAILED' });
    const bare = await failureOf({ ...without(login), identityFile: [], sshConfig: file('config', 'IdentityFile none\n') }, broker);
    expect(bare).toMatchObject({ reason: 'AUTH_FAILED', message: expect.stringContaining('nothing was there to try; the server accepts') });
  });

  describe('keyboard-interactive', () => {
    it('answers with the password, or asks the program', async () => {
      const { login } = await start({ methods: ['keyboard-interactive'] });
      expect((await finish(await open(login, 'echo in', broker))).stdout).toBe('in\n');
      const asked: unknown[] = [];
      const keyboardInteractive = (request: unknown): Secret[] => {
        asked.push(request);
        return [new Secret(PASSWORD)];
      };
      expect((await finish(await open({ ...without(login), keyboardInteractive }, 'echo in', broker))).stdout).toBe('in\n');
      expect(asked).toEqual([{ name: '', instructions: '', prompts: [{ text: 'Password: ', echo: false }] }]);
    });

    it('fails when the answer is wrong or the program has none', async () => {
      const { login } = await start({ methods: ['keyboard-interactive'] });
      expect(await failureOf({ ...login, password: 'wrong' }, broker)).toMatchObject({ reason: 'AUTH_FAILED' });
      const keyboardInteractive = (): Promise<string[]> => Promise.reject(new Error('no terminal'));
      expect(await failureOf({ ...without(login), keyboardInteractive }, broker)).toMatchObject({ reason: 'AUTH_FAILED', cause: { message: 'no terminal' } });
    });
  });

  it('goes on to the next factor where one is not enough', async () => {
    const server = new ssh2.Server({ hostKeys: [key.privateKey] }, (client) => {
      client.on('error', () => undefined);
      let keyPassed = false;
      client.on('authentication', (context) => {
        if (context.method === 'publickey' && context.signature === undefined) context.accept();
        else if (context.method === 'publickey') context.reject(['password'], (keyPassed = true));
        else if (context.method === 'password' && keyPassed && context.password === PASSWORD) context.accept();
        else context.reject(keyPassed ? ['password'] : ['publickey']);
      });
      client.on('session', (accept) => {
        accept().on('exec', (take: () => import('ssh2').ServerChannel) => {
          const channel = take();
          channel.write('in');
          channel.exit(0);
          channel.end();
        });
      });
    });
    const port = await listenWith(server);
    const transport = await open({ ...NOWHERE, port, privateKey: key.privateKey }, 'x', broker);
    expect((await finish(transport)).stdout).toBe('in');
  });

  it('names an agent that cannot be reached, when the program asked for it', async () => {
    const { login } = await start();
    const agent = join(directory, 'no-agent');
    expect(await failureOf({ ...login, agent }, broker)).toMatchObject({ reason: 'AGENT', message: expect.stringContaining(agent) });
  });

  needs('ssh-agent', 'ssh-add')('with a real ssh-agent', () => {
    async function startAgent(...keys: string[]): Promise<string> {
      const socket = join(directory, 'agent');
      const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'inherit'] });
      closers.push(async () => {
        agent.kill();
        if (agent.exitCode === null && agent.signalCode === null) await once(agent, 'exit');
      });
      await once(agent.stdout, 'data');
      for (const path of keys) execFileSync('ssh-add', ['-q', path], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
      return socket;
    }

    it('signs with it', async () => {
      const { login } = await start({ methods: ['publickey'] });
      const agent = await startAgent(file('other', (await generateKeyPair()).privateKey), file('id', key.privateKey));
      expect((await finish(await open({ ...without(login), agent }, 'echo in', broker))).stdout).toBe('in\n');
    });

    it('shows no key twice, and only configured ones with IdentitiesOnly', async () => {
      const { login } = await start({ users: { deploy: { publicKeys: [key.publicKey] } } });
      const other = await generateKeyPair();
      const agent = await startAgent(file('other', other.privateKey), file('id', key.privateKey));
      rmSync(join(directory, 'id'));
      file('id.pub', key.publicKey);
      const only = file('config', `IdentitiesOnly yes\nIdentityFile ${join(directory, 'id')}\nIdentityAgent ${agent}\n`);
      expect((await finish(await open({ ...without(login), agent, sshConfig: only }, 'echo in', broker))).stdout).toBe('in\n');
      const wrong = file('config2', `IdentitiesOnly yes\nIdentityFile ${join(directory, 'other')}\n`);
      const error = await failureOf({ ...without(login), agent, privateKey: other.privateKey, sshConfig: wrong }, broker);
      expect(error.message).toMatch(/tried: key of option privateKey, agent \S+; skipped: agent \S+ \(no other key in it\)/);
    });
  });
});

describe('host keys', () => {
  it('refuses an unknown host and says how to know it (REFERENCE 220)', async () => {
    const { login, server } = await start();
    const knownHosts = file('empty', '');
    const error = await failureOf({ ...login, knownHosts }, broker);
    expect(error).toMatchObject({ reason: 'HOST_KEY_UNKNOWN', phase: 'transport' });
    expect(error.message).toMatch(/ssh-ed25519 SHA256:[\w+/]{43}/);
    expect(error.message).toContain(`add the line "${server.knownHostsLine}"`);
    expect(error.message).toContain(knownHosts);
    expect(readFileSync(knownHosts, 'utf8')).toBe('');
  });

  it('refuses a changed key and names the line, in every mode that looks', async () => {
    const { login, server } = await start();
    const line = `[127.0.0.1]:${String(server.port)} ${(await generateKeyPair()).publicKey}\n`;
    const knownHosts = file('old', `# comment\n${line}`);
    for (const hostKeys of ['enforce', 'accept-new'] as const) {
      const error = await failureOf({ ...login, knownHosts, hostKeys }, broker);
      expect(error).toMatchObject({ reason: 'HOST_KEY_CHANGED', message: expect.stringContaining(`${knownHosts}:2 has ssh-ed25519 SHA256:`) });
    }
    expect(readFileSync(knownHosts, 'utf8')).toBe(`# comment\n${line}`);
    expect((await finish(await open({ ...login, knownHosts, hostKeys: 'ignore' }, 'echo in', broker))).stdout).toBe('in\n');
  });

  it('refuses a revoked key', async () => {
    const { login, server, knownHosts } = await start();
    const revoked = file('revoked', `@revoked * ${server.hostKey}\n`);
    expect(await failureOf({ ...login, knownHosts: [knownHosts, revoked], hostKeys: 'accept-new' }, broker)).toMatchObject({ reason: 'HOST_KEY_REVOKED', message: expect.stringContaining(`${revoked}:1`) });
  });

  it('does not take a certificate authority for a key', async () => {
    const { login, server } = await start();
    const knownHosts = file('ca', `@cert-authority * ${server.hostKey}\n`);
    expect(await failureOf({ ...login, knownHosts }, broker)).toMatchObject({ reason: 'HOST_KEY_UNKNOWN', message: expect.stringMatching(/certificate authority at .*ca:1 only/) });
  });

  it('accepts and remembers a new key in mode accept-new (REFERENCE 220)', async () => {
    const { login, server } = await start();
    const knownHosts = join(directory, 'new', 'known_hosts');
    const accepting = await open({ ...login, knownHosts, hostKeys: 'accept-new' }, 'echo in', broker);
    expect((await finish(accepting)).stdout).toBe('in\n');
    expect(readFileSync(knownHosts, 'utf8')).toBe(`${server.knownHostsLine}\n`);
    expect((await finish(await open({ ...login, knownHosts }, 'echo in', broker))).stdout).toBe('in\n');
  });

  it('does not fail when it cannot write the key down', async () => {
    const { login } = await start();
    const warnings: string[] = [];
    const transport = await open({ ...login, knownHosts: join(file('not-a-directory', ''), 'known_hosts'), hostKeys: 'accept-new', onWarning: (text) => warnings.push(text) }, 'echo in', broker);
    expect((await finish(transport)).stdout).toBe('in\n');
    expect(warnings.at(-1)).toMatch(/was accepted, but cannot be written/);
  });
});

describe('where nobody answers as it should', () => {
  it('a port without a server', async () => {
    const { port, server } = await listen(() => undefined);
    server.close();
    await once(server, 'close');
    closers.length = 0;
    expect(await failureOf({ ...NOWHERE, port }, broker)).toMatchObject({ reason: 'REFUSED', phase: 'transport' });
  });

  it('a name that nobody has', async () => {
    expect(await failureOf({ ...NOWHERE, host: 'no-such-host.invalid' }, broker)).toMatchObject({ reason: 'DNS', message: expect.stringContaining('no-such-host.invalid:22') });
  });

  it.each([
    ['speaks HTTP', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['closes at once', (socket: Socket) => socket.destroy()],
    ['resets', (socket: Socket) => socket.resetAndDestroy()],
  ])('a server that %s', async (_what, answer) => {
    const { port } = await listen(answer);
    expect(await failureOf({ ...NOWHERE, port }, broker)).toMatchObject({ reason: 'NOT_SSH', phase: 'transport', code: 'ERR_TENDRIL_NOT_SSH' });
  });

  it('a server that talks on without ever speaking ssh', async () => {
    const { port } = await listen((socket) => socket.write('x'.repeat(100_000)));
    expect(await failureOf({ ...NOWHERE, port, connectTimeoutMs: 200 }, broker)).toMatchObject({ phase: 'transport', reason: expect.stringMatching(/^(?:HANDSHAKE_FAILED|CONNECT_TIMEOUT)$/) });
  });

  it('a server that is silent before the handshake', async () => {
    const { port } = await listen(() => undefined);
    expect(await failureOf({ ...NOWHERE, port, connectTimeoutMs: 50 }, broker)).toMatchObject({ reason: 'CONNECT_TIMEOUT', phase: 'transport', message: expect.stringMatching(/did not finish the ssh handshake within 50 ms/) });
  });

  it('a server that is silent in authentication', async () => {
    const port = await listenWith(new ssh2.Server({ hostKeys: [key.privateKey] }, (client) => client.on('error', () => undefined).on('authentication', () => undefined)));
    expect(await failureOf({ ...NOWHERE, port, authTimeoutMs: 50 }, broker)).toMatchObject({ reason: 'CONNECT_TIMEOUT', phase: 'authentication', message: expect.stringMatching(/authTimeoutMs/) });
  });

  it.each([
    ['is silent about the session', () => undefined, 'CONNECT_TIMEOUT'],
    ['is silent about the command', (accept: () => unknown) => accept(), 'PERMISSION_DENIED'],
    ['opens no session', (_accept: unknown, reject: () => void) => { reject(); }, 'PERMISSION_DENIED'],
  ])('a server that %s', async (_what, onSession, reason) => {
    const port = await listenWith(new ssh2.Server({ hostKeys: [key.privateKey] }, (client) => client.on('error', () => undefined).on('authentication', (context) => { context.accept(); }).on('session', onSession)));
    expect(await failureOf({ ...NOWHERE, port, commandTimeoutMs: 50 }, broker)).toMatchObject({ reason, phase: 'command' });
  });

  it('a server that hangs up in authentication', async () => {
    const port = await listenWith(new ssh2.Server({ hostKeys: [key.privateKey] }, (client) => client.on('error', () => undefined).on('authentication', () => client.end())));
    expect(await failureOf({ ...NOWHERE, port }, broker)).toMatchObject({ reason: 'CONNECT_EOF', phase: 'authentication' });
  });

  it('a server with which no algorithm is shared', async () => {
    const port = await listenWith(new ssh2.Server({ hostKeys: [key.privateKey], algorithms: { cipher: ['3des-cbc'] } }, (client) => client.on('error', () => undefined)));
    expect(await failureOf({ ...NOWHERE, port }, broker)).toMatchObject({ reason: 'HANDSHAKE_FAILED', phase: 'transport' });
  });

  it('a host that never takes the TCP connection', () => {
    const where = { host: 'h', port: 22, username: 'u', phase: 'transport', attempts: '', banner: '', proxy: 'ProxyJump gw' } as const;
    expect(timeoutError(where, 5, false).message).toMatch(/no TCP connection to h:22 within 5 ms.*ProxyJump gw.*via/);
  });
});

describe('giving up', () => {
  it.each([
    ['before the handshake', 0],
    ['in the handshake', 1],
  ])('unsubscribing %s closes the connection', async (_what, data) => {
    let arrived: (socket: Socket) => void = () => undefined;
    const socket = new Promise<Socket>((resolve) => (arrived = resolve));
    const { port } = await listen((accepted) => {
      if (data === 0) arrived(accepted);
      else accepted.once('data', () => { arrived(accepted); });
    });
    const subscription = openSsh({ ...NOWHERE, port }, stageOf('true'), broker).subscribe({ error: () => { throw new Error('an error after the unsubscribe'); } });
    const accepted = await socket;
    const closed = once(accepted.resume(), 'close');
    subscription.unsubscribe();
    await closed;
    expect(broker.pendingTimers).toBe(0);
  });

  it('unsubscribing at once opens nothing', async () => {
    let connections = 0;
    const { port } = await listen(() => connections++);
    openSsh({ ...NOWHERE, port }, stageOf('true'), broker).subscribe().unsubscribe();
    await expect(failureOf({ ...NOWHERE, port, connectTimeoutMs: 50 }, broker)).resolves.toMatchObject({ reason: 'CONNECT_TIMEOUT' });
    expect(connections).toBe(1);
  });

  it('unsubscribing while the command is being started kills it', async () => {
    const { login, server } = await start();
    const subscription = openSsh(login, stageOf('exec sleep 1000'), broker).subscribe();
    for (let round = 0; round < 4000 && server.processes.length === 0; round++) await new Promise(setImmediate);
    subscription.unsubscribe();
    server.dropClients();
    expect(await leftClients(server)).toBe(0);
  });
});

describe('options', () => {
  it.each([{ host: '-oProxyCommand=touch /tmp/x' }, { host: '' }, { host: 'a b' }, { host: 'a\n' }, { host: 'h', port: 0 }, { host: 'h', port: 1.5 }, { host: 'h', username: '-l' }, { host: 'h', hostKeys: 'no' as 'ignore' }])('refuses %j', async (options) => {
    expect(await failureOf(options, broker)).toMatchObject({ reason: 'BAD_OPTION' });
  });

  it('says how to get ssh2 where it is missing', async () => {
    const missing = (): Promise<never> => Promise.reject(Object.assign(new Error("Cannot find package 'ssh2'"), { code: 'ERR_MODULE_NOT_FOUND' }));
    await expect(loadSsh2(missing)).rejects.toMatchObject({ reason: 'SSH2_MISSING', message: expect.stringContaining('npm install ssh2') });
  });

  needs('ssh')('from the ssh configuration', () => {
    it('uses what ssh -G says for a Host, and explicit options before it', async () => {
      const { server, knownHosts } = await start({ methods: ['publickey'] });
      const config = file('config', `Host inner\n HostName 127.0.0.1\n Port ${String(server.port)}\n User deploy\n IdentityFile ${file('id', key.privateKey)}\n IdentitiesOnly yes\n UserKnownHostsFile ${knownHosts}\n GlobalKnownHostsFile none\n IdentityAgent none\n`);
      expect((await finish(await open({ host: 'inner', sshConfig: config }, 'echo in', broker))).stdout).toBe('in\n');
      expect(await failureOf({ host: 'inner', sshConfig: config, username: 'other' }, broker)).toMatchObject({ reason: 'AUTH_FAILED', message: expect.stringContaining('other@127.0.0.1') });
      expect(await failureOf({ host: 'inner', sshConfig: config, knownHosts: file('empty', '') }, broker)).toMatchObject({ reason: 'HOST_KEY_UNKNOWN' });
    });

    it('looks the host up by HostKeyAlias, and accepts new keys where StrictHostKeyChecking lets it, hashed', async () => {
      const { server, login } = await start();
      const hosts = join(directory, 'kh2');
      const { knownHosts, sshConfig, ...rest } = login;
      expect([typeof knownHosts, sshConfig]).toEqual(['string', false]);
      const config = file('config', `HostKeyAlias Inner\nStrictHostKeyChecking no\nHashKnownHosts yes\nUserKnownHostsFile ${hosts}\nGlobalKnownHostsFile none\n`);
      expect((await finish(await open({ ...rest, sshConfig: config }, 'echo in', broker))).stdout).toBe('in\n');
      const line = readFileSync(hosts, 'utf8');
      expect(line).toMatch(/^\|1\|/);
      expect(line).toContain(server.hostKey);
      expect((await finish(await open({ ...rest, sshConfig: config, hostKeys: 'enforce' }, 'echo in', broker))).stdout).toBe('in\n');
    });

    it('skips a configured key that cannot be used, and says so', async () => {
      const { login } = await start({ methods: ['publickey'] });
      const config = file('config', `IdentityFile ${file('locked', encryptedKey.privateKey)}\nIdentityFile ${join(directory, 'none')}\nIdentityFile ${file('id', key.privateKey)}\n`);
      expect((await finish(await open({ ...without(login), sshConfig: config }, 'echo in', broker))).stdout).toBe('in\n');
      const bad = file('config2', `IdentityFile ${join(directory, 'locked')}\n`);
      expect(await failureOf({ ...without(login), sshConfig: bad }, broker)).toMatchObject({ reason: 'AUTH_FAILED', message: expect.stringMatching(/skipped: key \S+locked \(it is encrypted/) });
    });

    it('reports a configuration that ssh cannot read, and one that hangs', async () => {
      expect(await failureOf({ ...NOWHERE, sshConfig: file('bad', 'Nonsense yes\n') }, broker)).toMatchObject({ reason: 'BAD_OPTION', message: expect.stringMatching(/nonsense/) });
      const hanging = file('hanging', `Match exec "sleep 1000"\nUser x\n`);
      expect(await failureOf({ ...NOWHERE, sshConfig: hanging, connectTimeoutMs: 100 }, broker)).toMatchObject({ reason: 'CONNECT_TIMEOUT', message: expect.stringContaining('ssh -G') });
    });

    it('tells of a proxy that it does not follow', async () => {
      const { port, server } = await listen(() => undefined);
      server.close();
      await once(server, 'close');
      closers.length = 0;
      expect(await failureOf({ ...NOWHERE, port, sshConfig: file('config', 'ProxyJump gw\n') }, broker)).toMatchObject({ reason: 'REFUSED', message: expect.stringContaining('ProxyJump gw') });
    });
  });
});

/** Listens with one of ssh2's servers, for what the embedded one does not do. */
async function listenWith(server: import('ssh2').Server): Promise<number> {
  const sockets = new Set<Socket>();
  // ssh2's class forwards to a net.Server that it keeps to itself.
  const listener = (server as unknown as { _srv: Server })._srv;
  listener.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    listener.close();
    await once(listener, 'close');
  });
  return (listener.address() as AddressInfo).port;
}
