import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuthContext, AuthenticationType, ParsedKey, PublicKeyAuthContext } from 'ssh2';
import { firstKey, generateKeyPair } from './key-pair.ts';
import { Groups, baseEnvironment, serveSession } from './ssh-session.ts';

export { generateKeyPair } from './key-pair.ts';
export type { KeyPair } from './key-pair.ts';

/** How one user of an {@link SshServer} may come in; what is not set lets nobody in. */
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
  /** Shown to a client before authentication; ssh2 adds a line end. Default none. */
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

const ALL_METHODS = ['publickey', 'password', 'keyboard-interactive'] as const;

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
    const key = firstKey(ssh2.utils.parseKey(text));
    if (key === undefined) throw new TypeError('a key of the ssh server cannot be read; give the text of an OpenSSH key');
    return key;
  };
  let home = '';
  const groups = new Groups();
  const sockets = new Set<{ destroy(): unknown }>();
  const users = new Map(Object.entries(options.users).map(([name, user]) => [name, { password: user.password, keys: (user.publicKeys ?? []).map(parse) }]));
  const server = new ssh2.Server({ hostKeys: [hostKey], ...(options.banner === undefined ? {} : { banner: options.banner }) }, (client) => {
    client.on('error', () => undefined);
    client.on('authentication', (context) => {
      authenticate(context, users.get(context.username), options.methods ?? ALL_METHODS);
    });
    client.on('session', (accept) => {
      serveSession(accept(), client, { shell: options.shell ?? '/bin/sh', env: { ...baseEnvironment(home), ...options.env }, home, groups });
    });
  });
  // ssh2's Server keeps its listening socket to itself; clients that never finish the handshake live there only.
  const listener = (server as unknown as { _srv: TcpServer })._srv;
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
  // Made last, so that nothing that fails above leaves it behind.
  home = mkdtempSync(join(tmpdir(), 'tendril-ssh-'));
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
