import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ACCOUNT_NEEDS, makeAccount, program, reachableNode, removeAccount } from './accounts.ts';
import type { Account } from './accounts.ts';

/** Each host by its name, with the host from which alone it can be reached; undefined for this one. */
export type Topology = Readonly<Record<string, string | undefined>>;

/** Hosts in network namespaces of their own, each with an sshd. They share this machine's files and accounts. */
export interface Hosts {
  /** The address of a host, for the one from which it can be reached. */
  readonly address: Readonly<Record<string, string>>;
  /** Lets everybody in as `login`, who may become `service` by sudo. */
  readonly login: Account;
  readonly service: Account;
  readonly privateKey: string;
  readonly knownHosts: string;
  /** A Node that every account can run. */
  readonly nodePath: string;
  close(): Promise<void>;
}

/** What `needs` must find for {@link makeHosts}. */
export const HOSTS_NEEDS = ['sshd', 'ssh-keygen', 'ip', 'sudo', ...ACCOUNT_NEEDS] as const;

const ip = (...args: readonly string[]): void => {
  execFileSync(program('ip'), args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

/** Makes hosts and the wires between them: a pair of virtual network devices for each, and no routes. */
export async function makeHosts(topology: Topology): Promise<Hosts> {
  const mark = randomBytes(2).toString('hex');
  const directory = mkdtempSync(join(tmpdir(), 'tendril-hosts-'));
  chmodSync(directory, 0o755);
  const names = Object.keys(topology);
  const space = (name: string): string => `tendril-${mark}-${name}`;
  const servers: ChildProcess[] = [];
  const accounts: Account[] = [];
  const made: string[] = [];
  const sudoers = `/etc/sudoers.d/tendril-${mark}`;
  const close = async (): Promise<void> => {
    for (const server of servers) {
      if (server.exitCode !== null || server.signalCode !== null) continue;
      server.kill('SIGTERM');
      await once(server, 'exit');
    }
    // The devices go with their namespace.
    for (const name of made) ip('netns', 'del', space(name));
    for (const account of accounts) await removeAccount(account);
    rmSync(sudoers, { force: true });
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (const name of ['login', 'service']) accounts.push(await makeAccount({ name, shell: '/bin/sh' }, directory));
    const [login, service] = accounts as [Account, Account];
    writeFileSync(sudoers, `${login.username} ALL=(${service.username}) NOPASSWD: ALL\n`, { mode: 0o440 });
    const key = (name: string): string => {
      const path = join(directory, name);
      execFileSync(program('ssh-keygen'), ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path]);
      return path;
    };
    const [userKey, hostKey] = [key('user'), key('host')];
    const nodePath = reachableNode(directory);
    const address: Record<string, string> = {};
    for (const [index, name] of names.entries()) {
      ip('netns', 'add', space(name));
      made.push(name);
      ip('-n', space(name), 'link', 'set', 'lo', 'up');
      // Both ends of a wire have names of at most 15 characters.
      const [up, down] = [`tu${mark}${String(index)}`, `td${mark}${String(index)}`];
      const from = topology[name];
      ip('link', 'add', up, 'type', 'veth', 'peer', 'name', down);
      ip('link', 'set', down, 'netns', space(name));
      const at = from === undefined ? [] : ['-n', space(from)];
      if (from !== undefined) ip('link', 'set', up, 'netns', space(from));
      // A part of the range that is set apart for documentation and tests of networks.
      ip(...at, 'addr', 'add', `198.18.${String(index)}.1/30`, 'dev', up);
      ip(...at, 'link', 'set', up, 'up');
      ip('-n', space(name), 'addr', 'add', `198.18.${String(index)}.2/30`, 'dev', down);
      ip('-n', space(name), 'link', 'set', down, 'up');
      address[name] = `198.18.${String(index)}.2`;
    }
    if (!existsSync('/run/sshd')) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    const config = join(directory, 'sshd_config');
    writeFileSync(config, ['Port 22', 'ListenAddress 0.0.0.0', `HostKey ${hostKey}`, 'PidFile none', 'UsePAM no', 'PasswordAuthentication no', 'KbdInteractiveAuthentication no', `AuthorizedKeysFile ${userKey}.pub`, 'StrictModes no', 'UseDNS no', `SetEnv PATH=${dirname(nodePath)}:/usr/local/bin:/usr/bin:/bin`, ''].join('\n'));
    const known = readFileSync(`${hostKey}.pub`, 'utf8').trim();
    const knownHosts = join(directory, 'known_hosts');
    writeFileSync(knownHosts, Object.values(address).map((one) => `${one} ${known}\n`).join(''));
    for (const name of names) servers.push(await startServer(space(name), config));
    return { address, login, service, privateKey: readFileSync(userKey, 'utf8'), knownHosts, nodePath, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startServer(space: string, config: string): Promise<ChildProcess> {
  const server = spawn(program('ip'), ['netns', 'exec', space, program('sshd'), '-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4096);
      if (said.includes('Server listening on')) resolve();
    });
    server.once('close', () => {
      reject(new Error(`sshd does not start in ${space}: ${said}`));
    });
  });
  return server;
}
