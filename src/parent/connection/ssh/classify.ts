import { isError, messageOf } from '../../../core/errors.ts';
import { printable } from '../classify-exit.ts';
import { ConnectError } from '../connect-error.ts';
import type { ConnectPhase, ConnectReason } from '../connect-error.ts';
import { fingerprint, formatKnownHost, keyTypeOf } from './known-hosts.ts';
import type { HostKeyVerdict } from './known-hosts.ts';

/** Where a connection was going and how far it had come when it failed. */
export interface SshWhere {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly phase: ConnectPhase;
  /** What authentication tried and what the server accepts. */
  readonly attempts: string;
  /** What the server sent as its banner. */
  readonly banner: string;
  /** A ProxyJump or ProxyCommand of the ssh configuration. */
  readonly proxy: string | undefined;
}

/** The fields that ssh2 and Node put on their errors. */
interface Details {
  readonly level?: unknown;
  readonly code?: unknown;
}

const SOCKET_REASONS: Readonly<Record<string, ConnectReason>> = {
  ECONNREFUSED: 'REFUSED',
  ENOTFOUND: 'DNS',
  EAI_AGAIN: 'DNS',
  EAI_FAIL: 'DNS',
  EAI_NODATA: 'DNS',
  EHOSTUNREACH: 'UNREACHABLE',
  ENETUNREACH: 'UNREACHABLE',
  EHOSTDOWN: 'UNREACHABLE',
  ENETDOWN: 'UNREACHABLE',
  EADDRNOTAVAIL: 'UNREACHABLE',
  EINVAL: 'UNREACHABLE',
  EACCES: 'UNREACHABLE',
  EPERM: 'UNREACHABLE',
  ETIMEDOUT: 'CONNECT_TIMEOUT',
};

const SOCKET_ADVICE: Partial<Record<ConnectReason, string>> = {
  REFUSED: 'refused the connection: no ssh server listens there; check port',
  DNS: 'cannot be found: check host and the name service',
  UNREACHABLE: 'cannot be reached from here: check the network, routes and firewalls',
  CONNECT_TIMEOUT: 'did not answer the TCP connection',
};

/** Any error of ssh2, of its socket, or that it threw, as the one error of the connection. */
export function classifySshError(error: unknown, where: SshWhere): ConnectError {
  if (error instanceof ConnectError) return error;
  const { level, code } = (isError(error) ? error : {}) as Details;
  const text = messageOf(error);
  const at = `${where.host}:${String(where.port)}`;
  const options = { phase: where.phase, output: printable(where.banner), cause: error };
  if (level === 'client-socket') return socketError(typeof code === 'string' ? code : '', text, at, where, options);
  if (text === 'All configured authentication methods failed') return authFailed(where, options);
  if (typeof code === 'number' && where.phase === 'authentication') return new ConnectError('AUTH_FAILED', `${where.username}@${at} ended authentication: ${printable(text, 256)} (${where.attempts})`, options);
  if (level === 'protocol' && text === 'Connection lost before handshake') return notSsh(at, options);
  if (level === 'client-timeout') return new ConnectError('CONNECT_TIMEOUT', `${at} fell silent (phase ${where.phase})`, options);
  if (where.phase === 'transport') return new ConnectError('HANDSHAKE_FAILED', `the ssh handshake with ${at} failed: ${printable(text, 512)}`, options);
  if (where.phase === 'command' && /Channel open failure|Unable to exec/.test(text)) return commandRefused(text, at, options);
  return new ConnectError('CONNECT_EOF', `the ssh connection to ${at} broke in phase ${where.phase}: ${printable(text, 512)}`, options);
}

type Options = ConstructorParameters<typeof ConnectError>[2];

function socketError(code: string, text: string, at: string, where: SshWhere, options: Options): ConnectError {
  const reason = SOCKET_REASONS[code];
  if (reason !== undefined && where.phase === 'transport') return new ConnectError(reason, `${at} ${SOCKET_ADVICE[reason] ?? ''} (${code})${proxyAdvice(where)}`, options);
  if (where.phase === 'transport' && code === 'ECONNRESET') return notSsh(at, options);
  return new ConnectError('CONNECT_EOF', `the ssh connection to ${at} broke in phase ${where.phase}: ${code === '' ? printable(text, 512) : code}`, options);
}

function proxyAdvice(where: SshWhere): string {
  return where.proxy === undefined ? '' : `; its ssh configuration has "${printable(where.proxy, 256)}", which is not followed: connect through that host with the option via`;
}

function notSsh(at: string, options: Options): ConnectError {
  return new ConnectError('NOT_SSH', `${at} closed the connection before it spoke ssh: another service listens there (check port), or its ssh server turns connections away (MaxStartups, a ban)`, options);
}

function authFailed(where: SshWhere, options: Options): ConnectError {
  return new ConnectError('AUTH_FAILED', `${where.username}@${where.host}:${String(where.port)} did not let us in; ${where.attempts}; set identityFile, privateKey, agent, password or keyboardInteractive`, options);
}

function commandRefused(text: string, at: string, options: Options): ConnectError {
  const what = text.includes('Channel open failure') ? 'opens no session (MaxSessions, or the account may not run commands)' : 'does not run commands for this account';
  return new ConnectError('PERMISSION_DENIED', `${at} let us in but ${what}: ${printable(text, 256)}`, options);
}

/** The server closed the connection without a word. */
export function closedError(where: SshWhere): ConnectError {
  const at = `${where.host}:${String(where.port)}`;
  const options = { phase: where.phase, output: printable(where.banner) };
  if (where.phase === 'transport') return notSsh(at, options);
  return new ConnectError('CONNECT_EOF', `${at} closed the connection in phase ${where.phase}${where.phase === 'authentication' ? ` (${where.attempts})` : ''}`, options);
}

/** A phase took too long; `connected` tells whether TCP had come up. */
export function timeoutError(where: SshWhere, milliseconds: number, connected: boolean): ConnectError {
  const at = `${where.host}:${String(where.port)}`;
  const within = `within ${String(milliseconds)} ms`;
  const options = { phase: where.phase, output: printable(where.banner) };
  if (where.phase === 'authentication') return new ConnectError('CONNECT_TIMEOUT', `${at} did not finish authentication ${within} (${where.attempts}); raise authTimeoutMs`, options);
  if (where.phase === 'command') return new ConnectError('CONNECT_TIMEOUT', `${at} did not start the command ${within}; raise commandTimeoutMs`, options);
  if (!connected) return new ConnectError('CONNECT_TIMEOUT', `no TCP connection to ${at} ${within}; check host, port and firewalls, or raise connectTimeoutMs${proxyAdvice(where)}`, options);
  return new ConnectError('CONNECT_TIMEOUT', `${at} took the TCP connection but did not finish the ssh handshake ${within}; check that ssh listens there, or raise connectTimeoutMs`, options);
}

/** Why a host key is refused. `files` are those that were read; `name` is the one the host has there. */
export function hostKeyError(verdict: HostKeyVerdict, key: Buffer, name: string, files: readonly string[]): ConnectError {
  const shown = `${keyTypeOf(key)} ${fingerprint(key)}`;
  const phase = 'transport';
  if (verdict.status === 'revoked') {
    return new ConnectError('HOST_KEY_REVOKED', `${name} shows a revoked host key (${shown}, revoked at ${lineOf(verdict.entry)}): do not trust this host until its key is replaced`, { phase });
  }
  if (verdict.status !== 'unknown') {
    const known = `${verdict.entry.keyType} ${fingerprint(verdict.entry.key)}`;
    return new ConnectError('HOST_KEY_CHANGED', `the host key of ${name} has changed: it shows ${shown}, but ${lineOf(verdict.entry)} has ${known}. Someone may be in between; if the host really has a new key, replace that line`, { phase });
  }
  if (verdict.authority !== undefined) {
    return new ConnectError('HOST_KEY_UNKNOWN', `${name} is trusted through the certificate authority at ${lineOf(verdict.authority)} only, and ssh2 cannot check host certificates: it shows ${shown}; add that key itself to the known hosts once you have checked it`, { phase });
  }
  const where = files.length === 0 ? 'no known hosts file is set (option knownHosts)' : `it is not in ${files.join(', ')}`;
  return new ConnectError('HOST_KEY_UNKNOWN', `the host key of ${name} is unknown: it shows ${shown}, and ${where}. Check the fingerprint and add the line "${formatKnownHost(name, key)}", or set hostKeys: 'accept-new'`, { phase });
}

function lineOf(entry: { readonly file: string; readonly line: number }): string {
  return `${entry.file}:${String(entry.line)}`;
}
