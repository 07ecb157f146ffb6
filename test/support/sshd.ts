import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ACCOUNT_NEEDS, makeAccount, processTable, program, reachableNode, removeAccount } from './accounts.ts';
import type { Account, AccountWish } from './accounts.ts';

/** What a server is to be. */
export interface SshdOptions<Name extends string = string> {
  readonly accounts: readonly (AccountWish & { readonly name: Name })[];
  /** Lines for sshd_config, before the others (sshd takes the first value of a keyword). */
  readonly config?: readonly string[];
  /** Types of host keys. Default ed25519. */
  readonly hostKeyTypes?: readonly ('ed25519' | 'ecdsa' | 'rsa')[];
  /** Where it runs, when not here. */
  readonly namespace?: { readonly address: string; readonly prefix: readonly string[] };
}

/** A real OpenSSH server on 127.0.0.1, or in a namespace. */
export interface Sshd<Name extends string = string> {
  readonly host: string;
  readonly port: number;
  /** Path of a private key that every account accepts. */
  readonly userKey: string;
  /** Path of a known_hosts file with all host keys, and its lines by type. */
  readonly knownHosts: string;
  readonly hostKeyLines: Readonly<Record<string, string>>;
  readonly accounts: Readonly<Record<Name, Account>>;
  /** A directory for the test's own files; removed with the server. */
  readonly directory: string;
  /** Process ids of everything that runs as one of the accounts, and of sshd's sessions. */
  processes(): number[];
  /** Ends the server, its sessions and all processes of the accounts, and removes accounts and files. */
  close(): Promise<void>;
}

/** What `needs` must find for {@link startSshd}. */
export const SSHD_NEEDS = ['sshd', 'ssh-keygen', ...ACCOUNT_NEEDS] as const;

/**
 * Starts sshd with throw-away keys and accounts. Needs root, because only root's sshd lets other accounts in; see
 * {@link SSHD_NEEDS}. Without PAM, so that it works in a container.
 */
export async function startSshd<Name extends string>(options: SshdOptions<Name>): Promise<Sshd<Name>> {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-sshd-'));
  chmodSync(directory, 0o755);
  const made: Record<string, Account> = {};
  let server: { process: ChildProcess; port: number } | undefined;
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= closeOnce());
  const closeOnce = async (): Promise<void> => {
    const accounts = Object.values(made);
    await endProcesses(server?.process, accounts);
    for (const account of accounts) await removeAccount(account);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (const wish of options.accounts) made[wish.name] = await makeAccount(wish, directory);
    const types = options.hostKeyTypes ?? ['ed25519'];
    for (const type of types) makeKey(type, join(directory, `host_${type}`));
    const userKey = join(directory, 'user_key');
    makeKey('ed25519', userKey);
    const { address = '127.0.0.1', prefix = [] } = options.namespace ?? {};
    server = await launch(directory, types, options.config ?? [], address, prefix);
    const { port } = server;
    const line = (type: string): string => `[${address}]:${String(port)} ${publicFields(join(directory, `host_${type}`))}`;
    const hostKeyLines = Object.fromEntries(types.map((type) => [type, line(type)]));
    const knownHosts = join(directory, 'known_hosts');
    writeFileSync(knownHosts, `${Object.values(hostKeyLines).join('\n')}\n`);
    const { process: daemon } = server;
    return { host: address, port, userKey, knownHosts, hostKeyLines, accounts: made as Record<Name, Account>, directory, processes: () => sessionProcesses(daemon, Object.values(made)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

function makeKey(type: string, path: string): void {
  execFileSync(program('ssh-keygen'), ['-q', '-t', type, ...(type === 'rsa' ? ['-b', '2048'] : []), '-N', '', '-C', '', '-f', path]);
}

/** The two fields of a .pub file that known_hosts wants. */
function publicFields(path: string): string {
  return readFileSync(`${path}.pub`, 'utf8').trim().split(' ').slice(0, 2).join(' ');
}

/** Starts sshd; a port that another process took in between is tried again with another. */
async function launch(directory: string, types: readonly string[], config: readonly string[], address: string, prefix: readonly string[]): Promise<{ process: ChildProcess; port: number }> {
  // sshd will not start without its (empty) privilege separation directory, which an init script makes at boot.
  if (!existsSync('/run/sshd')) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  let said = '';
  for (let left = 5; left > 0; left--) {
    const port = await freePort();
    const file = join(directory, 'sshd_config');
    writeFileSync(file, [...config, ...configLines(directory, port, types, address)].join('\n') + '\n');
    const argv = [...prefix, program('sshd'), '-D', '-e', '-f', file];
    const daemon = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
    said = '';
    const up = new Promise<boolean>((resolve) => {
      daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-8192);
        if (said.includes('Server listening on')) resolve(true);
      });
      daemon.once('close', () => {
        resolve(false);
      });
    });
    if (await up) return { process: daemon, port };
  }
  throw new Error(`sshd does not start: ${said}`);
}

function configLines(directory: string, port: number, types: readonly string[], address: string): string[] {
  return [
    `Port ${String(port)}`,
    `ListenAddress ${address}`,
    ...types.map((type) => `HostKey ${join(directory, `host_${type}`)}`),
    'PidFile none',
    'UsePAM no',
    'PasswordAuthentication yes',
    'KbdInteractiveAuthentication no',
    `AuthorizedKeysFile ${join(directory, 'user_key.pub')}`,
    'StrictModes no',
    'UseDNS no',
    'MaxStartups 200',
    'MaxAuthTries 10',
    `SetEnv PATH=${dirname(reachableNode(directory))}:/usr/local/bin:/usr/bin:/bin`,
  ];
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** The processes that descend from the server, and those of its accounts wherever they are by now. */
function sessionProcesses(daemon: ChildProcess | undefined, accounts: readonly Account[]): number[] {
  const table = processTable();
  const uids = new Set(accounts.map(({ uid }) => uid));
  const ours = new Set(daemon?.pid === undefined ? [] : [daemon.pid]);
  for (let grew = true; grew; ) {
    grew = false;
    for (const [pid, { parent, uid }] of table) {
      if (ours.has(pid) || !(ours.has(parent) || uids.has(uid))) continue;
      ours.add(pid);
      grew = true;
    }
  }
  if (daemon?.pid !== undefined) ours.delete(daemon.pid);
  return [...ours];
}

/** Kills from the leaves, so that each parent reaps its children and nothing is left to the init of a container. */
async function endProcesses(daemon: ChildProcess | undefined, accounts: readonly Account[]): Promise<void> {
  const running = daemon?.exitCode === null && daemon.signalCode === null;
  for (let round = 0; round < 400; round++) {
    const left = sessionProcesses(running ? daemon : undefined, accounts);
    if (left.length === 0) break;
    const table = processTable();
    const parents = new Set(left.map((pid) => table.get(pid)?.parent));
    for (const pid of left.filter((candidate) => !parents.has(candidate))) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has just ended.
      }
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
  if (running) {
    const ended = once(daemon, 'close');
    daemon.kill('SIGTERM');
    await ended;
  }
}
