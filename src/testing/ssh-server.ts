import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { AuthContext, AuthenticationType, Connection, ParsedKey, PublicKeyAuthContext, ServerChannel, Session } from 'ssh2';

/** How one user of an {@link SshServer} may come in; a method that is not set is not offered to that user. */
export interface SshServerUser {
  /** Accepted by password and by keyboard-interactive authentication. */
  readonly password?: string;
  /** Public keys in the format of authorized_keys, one each. */
  readonly publicKeys?: readonly string[];
}

/** What an {@link SshServer} is to be. */
export interface SshServerOptions {
  /** By name. Every user's commands run as the account of this process. */
  readonly users: Readonly<Record<string, SshServerUser>>;
  /** Methods that the server offers. Default all three. */
  readonly methods?: readonly ('password' | 'publickey' | 'keyboard-interactive')[];
  /** Shown to a client before authentication. Default none. */
  readonly banner?: string;
  /** The login shell: run as `shell -c command`. Default `/bin/sh`. */
  readonly shell?: string;
  /** Added to the small environment of a command (PATH with this Node first, HOME, USER, LANG, SHELL). */
  readonly env?: Readonly<Record<string, string>>;
  /** Private key of the host. Default a new ed25519 key. */
  readonly hostKey?: string;
  /** TCP port on 127.0.0.1. Default any free one. */
  readonly port?: number;
}

/** A running embedded ssh server. */
export interface SshServer {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Its public key, as in a .pub file. */
  readonly hostKey: string;
  /** The line that a known_hosts file needs for it. */
  readonly knownHostsLine: string;
  /** Process ids of commands that run now. */
  readonly processes: readonly number[];
  /** Number of clients that are connected now. */
  readonly clients: number;
  /** Drops every client's connection without a word, as a broken network does. */
  dropClients(): void;
  /** Stops listening, drops the clients and kills their commands; resolves when no process, socket or file is left. */
  close(): Promise<void>;
}

/** A throw-away key pair in OpenSSH's formats. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

const ALL_METHODS = ['publickey', 'password', 'keyboard-interactive'] as const;

/** Makes a key pair; with a passphrase the private key is encrypted. Needs the package ssh2. */
export async function generateKeyPair(type: 'ed25519' | 'ecdsa' | 'rsa' = 'ed25519', passphrase?: string): Promise<KeyPair> {
  const { utils } = (await import('ssh2')).default;
  const encryption: object = passphrase === undefined ? {} : { passphrase, cipher: 'aes256-ctr', rounds: 16 };
  const make = { ed25519: () => utils.generateKeyPairSync('ed25519', encryption), ecdsa: () => utils.generateKeyPairSync('ecdsa', { bits: 256, ...encryption }), rsa: () => utils.generateKeyPairSync('rsa', { bits: 2048, ...encryption }) };
  const pair = make[type]();
  return { privateKey: pair.private, publicKey: pair.public };
}

/**
 * Starts a real ssh server on 127.0.0.1 in this process (the `Server` of ssh2) that runs real commands through a shell.
 * For demos and tests: anyone who authenticates runs commands as the account of this process.
 *
 * A command's whole process group gets SIGHUP when its channel or client goes, and SIGKILL when the server closes.
 */
export async function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const ssh2 = (await import('ssh2')).default;
  const hostKey = options.hostKey ?? (await generateKeyPair()).privateKey;
  const parse = (text: string): ParsedKey => {
    const key = ssh2.utils.parseKey(text);
    if ('message' in key) throw new TypeError(`not a key: ${key.message}`);
    return Array.isArray(key) ? (key as ParsedKey[])[0] ?? key : key;
  };
  const home = mkdtempSync(join(tmpdir(), 'tendril-ssh-'));
  const groups = new Groups();
  const sockets = new Set<{ destroy(): unknown }>();
  const users = new Map(Object.entries(options.users).map(([name, user]) => [name, { password: user.password, keys: (user.publicKeys ?? []).map(parse) }]));
  const server = new ssh2.Server({ hostKeys: [hostKey], ...(options.banner === undefined ? {} : { banner: options.banner }) }, (client) => {
    client.on('error', () => undefined);
    client.on('authentication', (context) => {
      authenticate(context, users.get(context.username), options.methods ?? ALL_METHODS);
    });
    client.on('session', (accept) => {
      serveSession(accept() as unknown as Session, client, { shell: options.shell ?? '/bin/sh', env: { ...baseEnvironment(home), ...options.env }, home, groups });
    });
  });
  // ssh2's Server keeps its listening socket to itself; clients that never finish the handshake live there only.
  const listener = (server as unknown as { _srv: import('node:net').Server })._srv;
  listener.on('connection', (socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(options.port ?? 0, '127.0.0.1', () => {
      listener.off('error', reject);
      resolve();
    });
  });
  const { port } = listener.address() as AddressInfo;
  const publicKey = parse(hostKey);
  const publicText = `${publicKey.type} ${publicKey.getPublicSSH().toString('base64')}`;
  const dropClients = (): void => {
    for (const socket of [...sockets]) socket.destroy();
  };
  let closing: Promise<void> | undefined;
  return {
    host: '127.0.0.1',
    port,
    hostKey: publicText,
    knownHostsLine: `[127.0.0.1]:${String(port)} ${publicText}`,
    get processes() {
      return groups.leaders;
    },
    get clients() {
      return sockets.size;
    },
    dropClients,
    close: () =>
      (closing ??= (async () => {
        const closed = new Promise<void>((resolve) => listener.close(() => { resolve(); }));
        dropClients();
        await Promise.all([closed, groups.killAll()]);
        rmSync(home, { recursive: true, force: true });
      })()),
  };
}

interface KnownUser {
  readonly password: string | undefined;
  readonly keys: readonly ParsedKey[];
}

function authenticate(context: AuthContext, user: KnownUser | undefined, offered: readonly AuthenticationType[]): void {
  const refuse = (): void => {
    context.reject([...offered]);
  };
  if (user === undefined || !offered.includes(context.method)) refuse();
  else if (context.method === 'password') answerPassword(context.password, user, context.accept.bind(context), refuse);
  else if (context.method === 'keyboard-interactive') {
    context.prompt([{ prompt: 'Password: ', echo: false }], (answers) => {
      answerPassword(answers[0], user, context.accept.bind(context), refuse);
    });
  } else if (context.method === 'publickey' && user.keys.some((key) => fits(key, context))) context.accept();
  else refuse();
}

function answerPassword(given: string | undefined, user: KnownUser, accept: () => void, refuse: () => void): void {
  if (user.password !== undefined && given === user.password) accept();
  else refuse();
}

/** Without a signature the client only asks whether the key would do. */
function fits(key: ParsedKey, { key: shown, signature, blob, hashAlgo }: PublicKeyAuthContext): boolean {
  if (!key.getPublicSSH().equals(shown.data)) return false;
  return signature === undefined || blob === undefined || key.verify(blob, signature, hashAlgo);
}

function baseEnvironment(home: string): Record<string, string> {
  const path = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  return { PATH: `${dirname(process.execPath)}${delimiter}${path}`, HOME: home, LANG: process.env['LANG'] ?? 'C.UTF-8' };
}

interface CommandSetting {
  readonly shell: string;
  readonly env: Readonly<Record<string, string>>;
  readonly home: string;
  readonly groups: Groups;
}

function serveSession(session: Session, client: Connection, setting: CommandSetting): void {
  let command: ChildProcess | undefined;
  const asked: Record<string, string> = {};
  session.on('env', (accept, _reject, { key, val }) => {
    asked[key] = val;
    // ssh2 passes no `accept` when the client wants no reply.
    (accept as (() => void) | undefined)?.();
  });
  session.on('signal', (accept, _reject, { name }) => {
    if (command !== undefined) setting.groups.signal(command, `SIG${name}` as NodeJS.Signals);
    (accept as (() => void) | undefined)?.();
  });
  session.on('exec', (accept, _reject, info) => {
    const channel = accept();
    command = spawn(setting.shell, ['-c', info.command], { cwd: setting.home, env: { SHELL: setting.shell, ...setting.env, ...asked }, stdio: 'pipe', detached: true });
    setting.groups.add(command);
    connectStreams(channel, command, client, setting.groups);
  });
}

/** Ties a command to its channel, both ways and to the end of either. */
function connectStreams(channel: ServerChannel, command: ChildProcess, client: Connection, groups: Groups): void {
  const { stdin, stdout, stderr } = command;
  if (stdin === null || stdout === null || stderr === null) return;
  const hangUp = (): void => {
    stdin.destroy();
    stdout.destroy();
    stderr.destroy();
    groups.signal(command, 'SIGHUP');
  };
  channel.on('error', () => undefined);
  stdin.on('error', () => undefined);
  channel.pipe(stdin);
  stdout.pipe(channel, { end: false });
  stderr.pipe(channel.stderr, { end: false });
  channel.on('close', hangUp);
  client.on('close', hangUp);
  command.on('error', (error) => {
    channel.stderr.write(`${error.message}\n`);
    channel.exit(127);
    channel.end();
  });
  command.on('close', (code, signal) => {
    client.off('close', hangUp);
    channel.off('close', hangUp);
    if (signal !== null) channel.exit(signal.slice('SIG'.length), false, '');
    else if (command.pid !== undefined) channel.exit(code ?? 0);
    channel.end();
  });
}

/** The process groups of running commands. */
class Groups {
  readonly #running = new Map<ChildProcess, Promise<void>>();

  get leaders(): readonly number[] {
    return [...this.#running.keys()].flatMap(({ pid }) => pid ?? []);
  }

  add(command: ChildProcess): void {
    if (command.pid === undefined) return;
    const ended = new Promise<void>((resolve) => {
      command.once('close', () => {
        // What the command left behind in its group goes with it. Process ids go round in a circle: this one is not another's yet.
        this.signal(command, 'SIGKILL');
        this.#running.delete(command);
        resolve();
      });
    });
    this.#running.set(command, ended);
  }

  signal({ pid }: ChildProcess, signal: NodeJS.Signals): void {
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group has gone, or the client named a signal that this system does not have.
    }
  }

  async killAll(): Promise<void> {
    const running = [...this.#running];
    for (const [command] of running) this.signal(command, 'SIGKILL');
    await Promise.all(running.map(([, ended]) => ended));
  }
}
