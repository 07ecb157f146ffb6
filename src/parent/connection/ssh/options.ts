import { homedir } from 'node:os';
import type { Secret } from '../../../core/wire/secret.ts';
import { ConnectError } from '../connect-error.ts';
import type { SshConfig } from './ssh-config.ts';

/** Receives a sentence about something that did not stop the connection. */
export type Warn = (text: string) => void;

/** What a server asks in keyboard-interactive authentication. */
export interface KeyboardInteractiveRequest {
  /** Title and text for the person; often empty. */
  readonly name: string;
  readonly instructions: string;
  /** One answer is due for each. `echo` is false where the answer is a secret. */
  readonly prompts: readonly { readonly text: string; readonly echo: boolean }[];
}

/** Gives one answer for each prompt, in order. */
export type KeyboardInteractive = (request: KeyboardInteractiveRequest) => readonly (string | Secret)[] | Promise<readonly (string | Secret)[]>;

/**
 * How to reach and enter a host over SSH. What is not set here comes from the user's ssh configuration (see
 * {@link SshOptions.sshConfig}), and then from the defaults below.
 */
export interface SshOptions {
  /** Name or address, or a Host of the ssh configuration. */
  readonly host: string;
  /** TCP port. Default 22. */
  readonly port?: number;
  /** Account there. Default: the name of the account that runs this process. */
  readonly username?: string;
  /** For password authentication, and for keyboard-interactive prompts that do not echo. Tried after explicit keys. */
  readonly password?: string | Secret;
  /** The text of a private key (OpenSSH, PEM or PPK). Used instead of the configured key files. */
  readonly privateKey?: string | Buffer | Secret;
  /** Paths of private keys (`~/` is the home directory); one that cannot be used is an error. Used instead of the configured key files. */
  readonly identityFile?: string | readonly string[];
  /** Decrypts encrypted keys. A key is decrypted once in the life of the process, because that takes half a second. */
  readonly passphrase?: string | Secret;
  /** Socket of an ssh-agent, false for none. Default: IdentityAgent of the ssh configuration, or SSH_AUTH_SOCK. */
  readonly agent?: string | false;
  /** Answers keyboard-interactive prompts. Without it `password` answers those that do not echo. */
  readonly keyboardInteractive?: KeyboardInteractive;
  /**
   * What to do about host keys. `enforce`: the key must be known. `accept-new`: a key of a host without any is written to
   * the first of the known hosts files; a changed or revoked one is refused. `ignore`: nothing is checked, so anyone
   * on the way can take the place of the host. Default: `enforce`, or `accept-new` where the ssh configuration has
   * StrictHostKeyChecking `accept-new` or `no`.
   */
  readonly hostKeys?: 'enforce' | 'accept-new' | 'ignore';
  /** Paths of known_hosts files (`~/` is the home directory), instead of UserKnownHostsFile and GlobalKnownHostsFile. */
  readonly knownHosts?: string | readonly string[];
  /**
   * Whether the OpenSSH client of this machine, where there is one, is asked (`ssh -G`) for the settings of the host.
   * A path names the configuration file to use (`ssh -F`). Default true.
   */
  readonly sshConfig?: boolean | string;
  /** Milliseconds of silence after which the server is asked for a sign of life; 0 for never. Default 15 000. */
  readonly keepaliveIntervalMs?: number;
  /** How many such questions may stay unanswered before the connection counts as lost. Default 3. */
  readonly keepaliveCountMax?: number;
  /** Milliseconds for the TCP connection and the SSH handshake together. Default 20 000. */
  readonly connectTimeoutMs?: number;
  /** Milliseconds for authentication. PAM holds a refusal back for seconds, so keep it long. Default 30 000. */
  readonly authTimeoutMs?: number;
  /** Milliseconds for the server to start the command once the account is entered. Default 20 000. */
  readonly commandTimeoutMs?: number;
  /** Hears what did not stop the connection. Default: a fault of the broker. */
  readonly onWarning?: Warn;
}

/** The options and the configuration made one; every field decided. */
export interface SshSettings {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly hostKeys: 'enforce' | 'accept-new' | 'ignore';
  readonly knownHostsFiles: readonly string[];
  readonly keepaliveIntervalMs: number;
  readonly keepaliveCountMax: number;
  readonly connectTimeoutMs: number;
  readonly authTimeoutMs: number;
  readonly commandTimeoutMs: number;
  readonly config: SshConfig;
}

const DEFAULT_KEEPALIVE_MS = 15_000;
const DEFAULT_CONNECT_TIMEOUT_MS = 20_000;
const DEFAULT_AUTH_TIMEOUT_MS = 30_000;

/** Milliseconds that the options allow for connecting, before the configuration is known. */
export function connectTimeout(options: SshOptions): number {
  return options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
}

/** Options win over the configuration. */
export function settle(options: SshOptions, config: SshConfig): SshSettings {
  return {
    host: config.hostname,
    port: options.port ?? config.port,
    username: options.username ?? config.user,
    hostKeys: options.hostKeys ?? (config.strictHostKeyChecking === 'accept-new' || config.strictHostKeyChecking === 'no' ? 'accept-new' : 'enforce'),
    knownHostsFiles: options.knownHosts === undefined ? [...config.userKnownHostsFiles, ...config.globalKnownHostsFiles] : listOf(options.knownHosts).map(expandHome),
    keepaliveIntervalMs: options.keepaliveIntervalMs ?? (config.serverAliveIntervalMs > 0 ? config.serverAliveIntervalMs : DEFAULT_KEEPALIVE_MS),
    keepaliveCountMax: options.keepaliveCountMax ?? config.serverAliveCountMax,
    connectTimeoutMs: options.connectTimeoutMs ?? config.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    authTimeoutMs: options.authTimeoutMs ?? DEFAULT_AUTH_TIMEOUT_MS,
    commandTimeoutMs: options.commandTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    config,
  };
}

/** Refuses what `ssh -G` would take for an option, and what is no host name, user or port at all. */
export function checkOptions(options: SshOptions): void {
  if (!isWord(options.host)) throw bad('host', 'a name or address, without spaces, that does not begin with "-"');
  if (options.username !== undefined && !isWord(options.username)) throw bad('username', 'a name, without spaces, that does not begin with "-"');
  const { port } = options;
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65536)) throw bad('port', 'a whole number from 1 to 65535');
  if (options.hostKeys !== undefined && !['enforce', 'accept-new', 'ignore'].includes(options.hostKeys)) throw bad('hostKeys', "'enforce', 'accept-new' or 'ignore'");
}

/** No control characters or spaces, and not an option. */
function isWord(text: unknown): boolean {
  return typeof text === 'string' && text !== '' && !text.startsWith('-') && !/[\s\p{Cc}]/u.test(text);
}

function bad(name: string, wanted: string): ConnectError {
  return new ConnectError('BAD_OPTION', `the ssh option ${name} must be ${wanted}`, { phase: 'transport' });
}

/** One or several as a list. */
export function listOf<T>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

/** `~/` at the beginning of a path, as a shell expands it. */
export function expandHome(path: string): string {
  return path.replace(/^~(?=\/|$)/, homedir());
}
