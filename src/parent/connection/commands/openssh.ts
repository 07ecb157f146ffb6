import type { Secret } from '../../../core/wire/secret.ts';
import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod, PromptRule } from './plan.ts';

/**
 * How to reach a host with the ssh client of this machine, for what `ssh()` does not have: certificates, ProxyJump and
 * ProxyCommand, GSSAPI, hardware keys, shared connections. What is not set here comes from the ssh configuration.
 */
export interface OpensshOptions {
  /** Name or address, or a Host of the ssh configuration. */
  readonly host: string;
  /** TCP port. Default: that of the ssh configuration, or 22. */
  readonly port?: number;
  /** Account there. Default: that of the ssh configuration, or the one that runs this process. */
  readonly username?: string;
  /** Typed on a terminal that script(1) makes, once. Default: ssh must not ask (`BatchMode`). */
  readonly password?: string | Secret;
  /** Decrypts the key; typed like {@link password}. */
  readonly passphrase?: string | Secret;
  /** Paths of private keys. Default: those of the ssh configuration, and the agent's. */
  readonly identityFile?: string | readonly string[];
  /** Path of a certificate for the key. */
  readonly certificateFile?: string;
  /** Offer no other keys than the named ones. Default: true where {@link identityFile} is given. */
  readonly identitiesOnly?: boolean;
  /** Hosts to go through, `user@host:port`, separated by commas. */
  readonly proxyJump?: string;
  /**
   * What to do about host keys. `enforce`: the key must be known. `accept-new`: that of a host without any is stored.
   * `ignore`: nothing is checked, so anyone on the way can take the place of the host. Default `enforce`.
   */
  readonly hostKeys?: 'enforce' | 'accept-new' | 'ignore';
  /** Path of a known_hosts file, in place of the configured ones. */
  readonly knownHosts?: string;
  /** Path of the ssh configuration (`-F`), or `none`. Default: ssh's own. */
  readonly configFile?: string;
  /** Path of a socket by which connections to one host are shared (ControlMaster); `%C` makes it unique. Default: not shared. */
  readonly controlPath?: string;
  /** Seconds that a shared connection stays when nobody uses it; it is a process of ssh that outlives ours. Default 60. */
  readonly controlPersist?: number;
  /** Compress. Default false. */
  readonly compression?: boolean;
  /** Seconds of silence after which the server is asked for a sign of life; 0 for never. Default 15. */
  readonly serverAliveInterval?: number;
  /** How many such questions may stay unanswered. Default 3. */
  readonly serverAliveCountMax?: number;
  /** Seconds for the TCP connection. Default 20. */
  readonly connectTimeout?: number;
  /** The ssh to run, a name or path. Default `ssh`. */
  readonly sshPath?: string;
  /** More arguments for ssh, before the host. */
  readonly sshArgs?: readonly string[];
}

const RULES: readonly ExitRule[] = [
  { reason: 'HOST_KEY_REVOKED', says: 'the host shows a revoked key: do not trust it until its key is replaced', phase: 'transport', text: /REVOKED HOST KEY DETECTED|was revoked and you have requested strict/ },
  { reason: 'HOST_KEY_CHANGED', says: 'the host key has changed; someone may be in between', phase: 'transport', text: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed and you have requested strict/ },
  { reason: 'HOST_KEY_UNKNOWN', says: "the host key is unknown: add it to the known hosts, or set hostKeys: 'accept-new'", phase: 'transport', text: /No \S+ host key is known for .* and you have requested strict checking|^Host key verification failed\./m },
  { reason: 'DNS', says: 'the host cannot be found: check host', phase: 'transport', text: /^ssh: Could not resolve hostname/m },
  { reason: 'REFUSED', says: 'nothing listens there: check host and port', phase: 'transport', text: /^ssh: connect to host .*: Connection refused/m },
  { reason: 'UNREACHABLE', says: 'the host cannot be reached from here', phase: 'transport', text: /^ssh: connect to host .*: (?:No route to host|Network is unreachable|Invalid argument)/m },
  { reason: 'CONNECT_TIMEOUT', says: 'the host did not answer in time', phase: 'transport', text: /^ssh: connect to host .*: (?:Connection|Operation) timed out|Connection timed out during banner exchange|^Timeout, server .* not responding/m },
  { reason: 'BAD_KEY', says: 'a key cannot be used: check identityFile and passphrase', phase: 'authentication', text: /^Load key ".*": (?:invalid format|incorrect passphrase supplied to decrypt private key|error in libcrypto)|^Identity file .* not accessible/m },
  { reason: 'AUTH_FAILED', says: 'the server did not let us in: check username, identityFile, password', phase: 'authentication', text: /^(?:[^@\s]+@[^:\s]+: )?Permission denied(?: \((?:publickey|password|keyboard-interactive|gssapi|hostbased)|, please try again)|Too many authentication failures/m },
  { reason: 'NOT_SSH', says: 'the other side closed the connection before it spoke ssh: check port', phase: 'transport', text: /^kex_exchange_identification:|banner exchange: .* invalid format|^ssh_exchange_identification:/m },
  { reason: 'HANDSHAKE_FAILED', says: 'there is no algorithm that both sides know', phase: 'transport', text: /^Unable to negotiate with /m },
  { reason: 'BAD_OPTION', says: 'ssh does not take these options: check sshArgs and the ssh configuration', phase: 'command', text: /Bad configuration option|^unknown option -- |^usage: ssh |no argument after keyword|keyword \S+ extra arguments/m },
];

function promptsOf(password: string | Secret | undefined, passphrase: string | Secret | undefined): PromptRule[] {
  return [
    { pattern: /Enter passphrase for [^\n]*: ?$/, answer: passphrase, option: 'passphrase' },
    { pattern: /[Pp]assword[^\n]{0,200}: ?$/, answer: password, option: 'password' },
  ];
}

const STRICTNESS = { enforce: 'yes', 'accept-new': 'accept-new', ignore: 'no' } as const;

/** A host by the ssh client of this machine. */
export const openssh: CommandMethod<OpensshOptions> = {
  plan: (options) => {
    const check = new OptionCheck('openssh');
    const password = check.secret('password', options.password);
    const passphrase = check.secret('passphrase', options.passphrase);
    const asks = password !== undefined || passphrase !== undefined;
    const hostKeys = check.oneOf('hostKeys', options.hostKeys ?? 'enforce', ['enforce', 'accept-new', 'ignore']);
    const identities = typeof options.identityFile === 'string' ? [options.identityFile] : check.list('identityFile', options.identityFile);
    const set = (name: string, value: string | number): string[] => ['-o', `${name}=${String(value)}`];
    const whole = (option: 'serverAliveInterval' | 'serverAliveCountMax' | 'connectTimeout' | 'controlPersist', byDefault: number): number => check.whole(option, options[option] ?? byDefault, 0, 1_000_000);
    const path = (option: 'certificateFile' | 'knownHosts' | 'configFile' | 'controlPath' | 'proxyJump'): string | undefined => (options[option] === undefined ? undefined : check.text(option, options[option]));
    const [configFile, proxyJump, certificateFile, knownHosts, controlPath] = [path('configFile'), path('proxyJump'), path('certificateFile'), path('knownHosts'), path('controlPath')];
    return {
      argv: [
        check.text('sshPath', options.sshPath ?? 'ssh'),
        ...(configFile === undefined ? [] : ['-F', configFile]),
        '-T',
        ...set('LogLevel', 'ERROR'),
        ...(asks ? set('NumberOfPasswordPrompts', 1) : set('BatchMode', 'yes')),
        ...set('StrictHostKeyChecking', STRICTNESS[hostKeys]),
        ...(hostKeys === 'ignore' ? [...set('UserKnownHostsFile', '/dev/null'), ...set('GlobalKnownHostsFile', '/dev/null')] : []),
        ...(knownHosts === undefined ? [] : [...set('UserKnownHostsFile', knownHosts), ...set('GlobalKnownHostsFile', '/dev/null')]),
        ...set('ServerAliveInterval', whole('serverAliveInterval', 15)),
        ...set('ServerAliveCountMax', whole('serverAliveCountMax', 3)),
        ...set('ConnectTimeout', whole('connectTimeout', 20)),
        ...(options.username === undefined ? [] : ['-l', check.name('username', options.username)]),
        ...(options.port === undefined ? [] : ['-p', String(check.whole('port', options.port, 1, 65_535))]),
        ...identities.flatMap((file) => ['-i', check.text('identityFile', file)]),
        ...((options.identitiesOnly ?? identities.length > 0) ? set('IdentitiesOnly', 'yes') : []),
        ...(certificateFile === undefined ? [] : set('CertificateFile', certificateFile)),
        ...(proxyJump === undefined ? [] : ['-J', proxyJump]),
        ...(controlPath === undefined ? [] : [...set('ControlMaster', 'auto'), ...set('ControlPath', controlPath), ...set('ControlPersist', whole('controlPersist', 60))]),
        ...(check.flag('compression', options.compression) ? ['-C'] : []),
        ...check.list('sshArgs', options.sshArgs),
        '--',
        check.name('host', options.host),
      ],
      stage: 'line',
      programOption: 'sshPath',
      ...(asks && { tty: 'asks' as const, prompts: promptsOf(password, passphrase) }),
      // An askpass program of the desktop would ask a person.
      env: { SSH_ASKPASS: undefined, SSH_ASKPASS_REQUIRE: undefined, DISPLAY: undefined },
      rules: RULES,
    };
  },
  again: () => 'search',
};
