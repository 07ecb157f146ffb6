import { spawn } from 'node:child_process';
import { homedir, hostname, userInfo } from 'node:os';
import { messageOf } from '../../../core/errors.ts';
import type { Broker } from '../../../core/broker/broker.ts';
import { ConnectError } from '../connect-error.ts';

/** What ssh_config(5) says about one host, as far as this library uses it. Paths are complete. */
export interface SshConfig {
  readonly hostname: string;
  readonly port: number;
  readonly user: string;
  readonly identityFiles: readonly string[];
  readonly identitiesOnly: boolean;
  /** Path of a socket, `none`, or undefined where SSH_AUTH_SOCK decides. */
  readonly identityAgent: string | undefined;
  readonly userKnownHostsFiles: readonly string[];
  readonly globalKnownHostsFiles: readonly string[];
  readonly hashKnownHosts: boolean;
  readonly strictHostKeyChecking: 'yes' | 'ask' | 'accept-new' | 'no';
  readonly hostKeyAlias: string | undefined;
  /** 0 when none is asked for. */
  readonly serverAliveIntervalMs: number;
  readonly serverAliveCountMax: number;
  readonly connectTimeoutMs: number | undefined;
  /** A ProxyJump or ProxyCommand line, which this method cannot follow; for the text of an error. */
  readonly proxy: string | undefined;
}

/** What to ask ssh_config(5) about; `port` and `user` only where the program gave them. */
export interface SshConfigQuery {
  readonly host: string;
  readonly port: number | undefined;
  readonly user: string | undefined;
  /** A configuration file to use instead of the user's and the system's, as `ssh -F`. */
  readonly file?: string;
}

/** Bounds of one `ssh -G`. */
export interface SshConfigLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** The OpenSSH client. Default `ssh`, from the PATH. */
  readonly program?: string;
}

/** `ssh -G` prints about 5 KB. */
const MAX_OUTPUT_BYTES = 1024 * 1024;

/**
 * Asks the OpenSSH client of this machine (`ssh -G`), which knows Include, Match and every default; without a client,
 * {@link defaultSshConfig}. No shell is involved, except for what `Match exec` of the user's own file runs.
 */
export async function querySshConfig(query: SshConfigQuery, broker: Broker, limits: SshConfigLimits): Promise<SshConfig> {
  const text = await printedConfig(query, broker, limits);
  return text === undefined ? defaultSshConfig(query) : parseSshConfig(text, query);
}

function printedConfig(query: SshConfigQuery, broker: Broker, limits: SshConfigLimits): Promise<string | undefined> {
  const options = [...(query.file === undefined ? [] : ['-F', query.file]), ...(query.port === undefined ? [] : ['-p', String(query.port)]), ...(query.user === undefined ? [] : ['-l', query.user])];
  return new Promise((resolve, reject) => {
    const client = spawn(limits.program ?? 'ssh', ['-G', ...options, '--', query.host], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    let complaint = '';
    let timedOut = false;
    // Its whole process group: a program of Match exec must not stay behind.
    const stop = (): void => {
      if (client.pid === undefined || client.exitCode !== null || client.signalCode !== null) return;
      process.kill(-client.pid, 'SIGKILL');
    };
    const timer = broker.after(limits.timeoutMs, () => {
      timedOut = true;
      stop();
    });
    limits.signal.addEventListener('abort', stop);
    const done = (): void => {
      timer.unsubscribe();
      limits.signal.removeEventListener('abort', stop);
    };
    client.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (output.length + text.length > MAX_OUTPUT_BYTES) stop();
      else output += text;
    });
    client.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-2048);
    });
    client.on('error', (error) => {
      done();
      // No client, or one that cannot be run: the defaults have to do.
      if (client.pid === undefined) resolve(undefined);
      else reject(failed(query.host, messageOf(error)));
    });
    client.on('close', (code) => {
      done();
      if (code === 0) resolve(output);
      else if (timedOut) reject(new ConnectError('CONNECT_TIMEOUT', `\`ssh -G ${query.host}\` gave no answer within ${String(limits.timeoutMs)} ms (a Match exec or a name look-up of the ssh configuration?); set sshConfig: false to do without it`, { phase: 'transport' }));
      else reject(failed(query.host, complaint.trim()));
    });
    if (limits.signal.aborted) stop();
  });
}

function failed(host: string, why: string): ConnectError {
  return new ConnectError('BAD_OPTION', `the ssh configuration for ${host} cannot be used: ${why}; repair it, or set sshConfig: false`, { phase: 'transport' });
}

/** Reads what `ssh -G` printed. Unknown keywords are ignored; what is missing gets the default. */
export function parseSshConfig(text: string, query: SshConfigQuery): SshConfig {
  const lines = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    if (space <= 0) continue;
    const keyword = line.slice(0, space).toLowerCase();
    const values = lines.get(keyword) ?? [];
    values.push(line.slice(space + 1).trim());
    lines.set(keyword, values);
  }
  const all = (keyword: string): string[] | undefined => lines.get(keyword);
  const one = (keyword: string): string | undefined => unlessNone(lines.get(keyword)?.[0]);
  const base = defaultSshConfig(query);
  const known = { hostname: one('hostname') ?? base.hostname, port: wholeNumber(one('port')) ?? base.port, user: one('user') ?? base.user, hostKeyAlias: one('hostkeyalias') };
  const expand = (path: string): string => expandPath(path, { ...known, host: query.host });
  const files = (keyword: string): string[] | undefined => all(keyword)?.flatMap((value) => (value === 'none' ? [] : value.split(/\s+/).map(expand)));
  const agent = lines.get('identityagent')?.[0];
  return {
    ...known,
    identityFiles: all('identityfile')?.filter((path) => path !== 'none').map(expand) ?? base.identityFiles,
    identitiesOnly: one('identitiesonly') === 'yes',
    identityAgent: agent === undefined || agent === 'SSH_AUTH_SOCK' ? undefined : agent === 'none' ? 'none' : expandAgent(agent, expand),
    userKnownHostsFiles: files('userknownhostsfile') ?? base.userKnownHostsFiles,
    globalKnownHostsFiles: files('globalknownhostsfile') ?? base.globalKnownHostsFiles,
    hashKnownHosts: one('hashknownhosts') === 'yes',
    strictHostKeyChecking: strictness(one('stricthostkeychecking')),
    serverAliveIntervalMs: 1000 * (wholeNumber(one('serveraliveinterval')) ?? 0),
    serverAliveCountMax: wholeNumber(one('serveralivecountmax')) ?? base.serverAliveCountMax,
    connectTimeoutMs: milliseconds(one('connecttimeout')),
    proxy: proxyLine('ProxyJump', one('proxyjump')) ?? proxyLine('ProxyCommand', one('proxycommand')),
  };
}

function unlessNone(value: string | undefined): string | undefined {
  return value === 'none' ? undefined : value;
}

function wholeNumber(value: string | undefined): number | undefined {
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined;
}

function milliseconds(seconds: string | undefined): number | undefined {
  const value = wholeNumber(seconds);
  return value === undefined || value === 0 ? undefined : value * 1000;
}

function proxyLine(keyword: string, value: string | undefined): string | undefined {
  return value === undefined ? undefined : `${keyword} ${value}`;
}

/** `ssh -G` prints `true` and `false` for what the file calls `yes` and `no`. */
function strictness(value: string | undefined): SshConfig['strictHostKeyChecking'] {
  if (value === 'true' || value === 'yes') return 'yes';
  if (value === 'false' || value === 'no' || value === 'off') return 'no';
  return value === 'accept-new' ? 'accept-new' : 'ask';
}

/** `$NAME` as a whole names an environment variable that holds the path. */
function expandAgent(value: string, expand: (path: string) => string): string {
  return value.startsWith('$') && !value.startsWith('${') ? (process.env[value.slice(1)] ?? 'none') : expand(value);
}

interface PathTokens {
  readonly hostname: string;
  readonly port: number;
  readonly user: string;
  readonly host: string;
  readonly hostKeyAlias: string | undefined;
}

/** `~`, `${NAME}` and the % tokens, which `ssh -G` leaves in the paths of IdentityFile and IdentityAgent. */
function expandPath(path: string, tokens: PathTokens): string {
  const local = hostname();
  const values: Readonly<Record<string, string>> = {
    '%': '%', d: homedir(), h: tokens.hostname, i: String(process.getuid?.() ?? ''), k: tokens.hostKeyAlias ?? tokens.host,
    L: local.split('.')[0] ?? local, l: local, n: tokens.host, p: String(tokens.port), r: tokens.user, u: userInfo().username,
  };
  return path
    .replace(/^~(?=\/|$)/, homedir())
    .replace(/\$\{(\w+)\}/g, (whole, name: string) => process.env[name] ?? whole)
    .replace(/%(.)/g, (whole, token: string) => values[token] ?? whole);
}

/** What holds without an OpenSSH client, or with `sshConfig: false`. */
export function defaultSshConfig(query: SshConfigQuery): SshConfig {
  const own = `${homedir()}/.ssh`;
  return {
    hostname: query.host,
    port: query.port ?? 22,
    user: query.user ?? userInfo().username,
    identityFiles: [`${own}/id_ed25519`, `${own}/id_ecdsa`, `${own}/id_rsa`],
    identitiesOnly: false,
    identityAgent: undefined,
    userKnownHostsFiles: [`${own}/known_hosts`],
    globalKnownHostsFiles: ['/etc/ssh/ssh_known_hosts'],
    hashKnownHosts: false,
    strictHostKeyChecking: 'ask',
    hostKeyAlias: undefined,
    serverAliveIntervalMs: 0,
    serverAliveCountMax: 3,
    connectTimeoutMs: undefined,
    proxy: undefined,
  };
}
