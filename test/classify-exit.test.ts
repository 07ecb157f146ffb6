import { describe, expect, it } from '@jest/globals';
import { classifyExit, printable } from '../src/parent/connection/classify-exit.ts';
import { COMMAND_METHODS } from '../src/parent/connection/commands/methods.ts';
import { TTY_RULES } from '../src/parent/connection/commands/terminal.ts';
import type { CommandMethod } from '../src/parent/connection/commands/plan.ts';

/** Texts of real programs: what they print and how they end when the first stage cannot run. */
const TEXTS: readonly [reason: string, code: number, text: string][] = [
  // sh -c 'exec node ...' without Node
  ['NODE_MISSING', 127, 'sh: 1: exec: node: not found\n'],
  ['NODE_MISSING', 127, '-: 1: exec: nodexx: not found'],
  ['NODE_MISSING', 127, '-: line 1: exec: nodexx: not found'],
  ['NODE_MISSING', 127, 'bash: line 1: exec: node: not found'],
  ['NODE_MISSING', 127, '-: exec: line 0: nodexx: not found'],
  ['NODE_MISSING', 127, 'sh: node: inaccessible or not found'],
  ['NODE_MISSING', 127, 'zsh:1: command not found: node'],
  ['NODE_MISSING', 127, 'node: Command not found.'],
  ['NODE_MISSING', 127, 'fish: Unknown command: node\nfish: \nnode -e 0\n^~~^'],
  ["NODE_MISSING", 127, "fish: Unknown command 'node'"],
  ['NODE_MISSING', 127, 'bash: line 1: /opt/node/bin/node: No such file or directory'],
  ['NODE_MISSING', 127, ''],
  ['NODE_MISSING', 1, 'sudo: node: command not found'],
  ['NODE_MISSING', 1, 'PROMPT:sudo: nodexx: command not found'],
  ['NODE_MISSING', 126, 'OCI runtime exec failed: exec failed: unable to start container process: exec: "node": executable file not found in $PATH: unknown\r\n'],
  ['NODE_MISSING', 127, 'rxm: no usable Node.js (>=20) found'],
  ['NODE_MISSING', 127, "env: 'node': No such file or directory".replaceAll("'", '')],
  ['NODE_MISSING', 126, 'bash: line 1: /usr/bin/node: cannot execute binary file: Exec format error'],
  ['NODE_MISSING', 126, 'sh: 1: exec: node: Exec format error'],
  ['NODE_MISSING', 127, 'bash: line 1: /opt/node/bin/node: cannot execute: required file not found'],
  ['NODE_MISSING', 1, "node: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found (required by node)"],
  ['NODE_MISSING', 127, 'node: error while loading shared libraries: libatomic.so.1: cannot open shared object file: No such file or directory'],
  ['NODE_MISSING', 127, 'Error loading shared library libstdc++.so.6: No such file or directory (needed by /usr/bin/node)'],
  // it is there but may not be run
  ['PERMISSION_DENIED', 126, '-: 1: exec: /etc/passwd: Permission denied'],
  ['PERMISSION_DENIED', 126, 'sh: 1: exec: /usr/local/bin/node: Permission denied'],
  ['PERMISSION_DENIED', 126, 'bash: line 1: /opt/node/bin/node: Permission denied'],
  ['PERMISSION_DENIED', 126, '/opt/node/bin/node: Permission denied.'],
  ['PERMISSION_DENIED', 126, ''],
  ['PERMISSION_DENIED', 1, 'This account is currently not available.\n'],
  ['PERMISSION_DENIED', 1, 'This service allows sftp connections only.\r\n'],
  // Node 0.12 and 4, 8, 10
  ['NODE_TOO_OLD', 1, '[eval]:1\n(function(P,b,r){...})(process)\n        ^\nReferenceError: fs is not defined\n    at [eval]:1:222'],
  ['NODE_TOO_OLD', 1, 'TypeError: Buffer.alloc is not a function\n    at r ([eval]:1:40)'],
  ['NODE_TOO_OLD', 1, "TypeError: Object function Buffer(subject, encoding, offset) { has no method 'alloc'"],
  ['NODE_TOO_OLD', 1, '[eval]:1\nTypeError: zlib.brotliDecompressSync is not a function'],
  // everything else
  ['CONNECT_EOF', 1, 'Welcome to web1\nbash: /etc/profile: line 3: oops'],
  ['CONNECT_EOF', 0, ''],
  ['CONNECT_EOF', 255, 'Connection closed by 10.0.0.1 port 22'],
  ['CONNECT_EOF', 127, 'sh: Command not found.'],
  ['CONNECT_EOF', 126, 'OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": executable file not found in $PATH: unknown'],
];

describe('classifyExit', () => {
  it.each(TEXTS)('%s: exit status %i, %j', (reason, code, output) => {
    const error = classifyExit({ phase: 'first-stage', output, exit: { code, signal: null } });
    expect(error).toMatchObject({ name: 'ConnectError', reason, code: `ERR_TENDRIL_${reason}`, phase: 'first-stage' });
    expect(error.message).toContain(`exit status ${String(code)}`);
  });

  it('looks at output after a banner, takes bytes, and shows the last line', () => {
    const error = classifyExit({ phase: 'first-stage', output: Buffer.from('Ünwelcome\u001b[31m\nsh: 1: exec: node: not found\n'), exit: { code: 127, signal: null } });
    expect(error.reason).toBe('NODE_MISSING');
    expect(error.message).toContain('last output: sh: 1: exec: node: not found');
    expect(error.output).toBe('Ünwelcome\ufffd[31m\nsh: 1: exec: node: not found\n');
  });

  it('tells exit statuses, signals, lost connections and end of file apart (REFERENCE 129)', () => {
    const message = (exit: { code: number | null; signal: string | null } | undefined): string => classifyExit({ phase: 'core', output: '', exit }).message;
    expect(message({ code: 3, signal: null })).toContain('exit status 3');
    expect(message({ code: null, signal: 'SIGKILL' })).toContain('ended by SIGKILL');
    expect(message({ code: null, signal: null })).toContain('connection lost');
    expect(message(undefined)).toContain('end of file');
  });
});

/** What the tools of connection methods print, and how they end: collected from the real programs. */
const TOOL_TEXTS: readonly [method: keyof typeof COMMAND_METHODS, reason: string, code: number, text: string][] = [
  ['sudo', 'AUTH_FAILED', 1, 'sudo: a password is required\n'],
  ['sudo', 'AUTH_FAILED', 1, 'sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\nsudo: a password is required'],
  ['sudo', 'AUTH_FAILED', 1, 'Sorry, try again.\n\nsudo: no password was provided\nsudo: 1 incorrect password attempt'],
  ['sudo', 'PERMISSION_DENIED', 1, "Sorry, user bs_alice is not allowed to execute '/usr/bin/id' as root on vm."],
  ['sudo', 'PERMISSION_DENIED', 1, 'bs_zsh is not in the sudoers file.'],
  ['sudo', 'PERMISSION_DENIED', 1, 'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.'],
  ['sudo', 'TTY_REQUIRED', 1, 'sudo: sorry, you must have a tty to run sudo'],
  ['sudo', 'USER_UNKNOWN', 1, 'sudo: unknown user nosuch\nsudo: error initializing audit plugin sudoers_audit'],
  ['sudo', 'NODE_MISSING', 1, 'sudo: nodexx: command not found'],
  ['su', 'AUTH_FAILED', 1, 'su: Authentication failure\n'],
  ['su', 'USER_UNKNOWN', 1, 'su: user tendril-no-one does not exist or the user entry does not contain all the required fields'],
  ['su', 'PERMISSION_DENIED', 1, 'This account is currently not available.'],
  ['doas', 'AUTH_FAILED', 1, 'doas: Authentication failed'],
  ['doas', 'AUTH_FAILED', 1, 'doas: Authentication required'],
  ['doas', 'PERMISSION_DENIED', 1, 'doas: Operation not permitted'],
  ['doas', 'PERMISSION_DENIED', 1, 'doas: doas is not enabled, /etc/doas.conf: No such file or directory'],
  ['doas', 'USER_UNKNOWN', 1, 'doas: unknown user'],
  ['doas', 'NODE_MISSING', 1, 'doas: nodexx: command not found'],
  ['docker', 'TARGET_MISSING', 1, 'Error response from daemon: No such container: nope'],
  ['docker', 'TARGET_STOPPED', 1, 'Error response from daemon: Container 124534c5b32119bd7f941e7581c5831f0e51f0098d4b50c5ad612f9eb631e36c is not running'],
  ['docker', 'REFUSED', 1, 'Cannot connect to the Docker daemon at unix:///nonexist. Is the docker daemon running?'],
  ['docker', 'PERMISSION_DENIED', 1, 'permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: permission denied'],
  ['docker', 'USER_UNKNOWN', 126, 'unable to find user nouser: no matching entries in passwd file'],
  ['docker', 'TARGET_MISSING', 125, "Unable to find image 'nosuchimage:9' locally\ndocker: Error response from daemon: Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host"],
  ['docker', 'NODE_MISSING', 126, 'OCI runtime exec failed: exec failed: unable to start container process: exec: "node": executable file not found in $PATH: unknown\r\n'],
  ['podman', 'TARGET_MISSING', 125, 'Error: no container with name or ID "nope" found: no such container'],
  ['podman', 'TARGET_STOPPED', 255, 'Error: can only create exec sessions on running containers: container state improper'],
  ['podman', 'USER_UNKNOWN', 255, 'Error: unable to find user nouser: no matching entries in passwd file'],
  ['kubectl', 'REFUSED', 1, 'The connection to the server localhost:8080 was refused - did you specify the right host or port?'],
  ['lxc', 'TARGET_MISSING', 1, 'lxc-attach: nope: ../src/lxc/attach.c: get_attach_context: 406 Connection refused - Failed to get init pid'],
  ['lxc', 'PERMISSION_DENIED', 1, 'lxc-attach: nope: ../src/lxc/tools/lxc_attach.c: main: 302 You lack access to /root/.local/share/lxc'],
  ['nsenter', 'TARGET_MISSING', 1, 'nsenter: cannot open /proc/4194000/ns/mnt: No such file or directory'],
  ['nsenter', 'PERMISSION_DENIED', 1, 'nsenter: cannot open /proc/1/ns/mnt: Permission denied'],
  ['chroot', 'TARGET_MISSING', 125, "chroot: cannot change root directory to '/nonexist': No such file or directory"],
  ['chroot', 'PERMISSION_DENIED', 125, "chroot: cannot change root directory to '/': Operation not permitted"],
  ['chroot', 'USER_UNKNOWN', 125, 'chroot: invalid user'],
  ['command', 'TARGET_MISSING', 255, 'Cannot open network namespace "nope": No such file or directory'],
  ['openssh', 'AUTH_FAILED', 255, 'bs_alice@127.0.0.1: Permission denied (publickey,password,keyboard-interactive).'],
  ['openssh', 'HOST_KEY_UNKNOWN', 255, 'No ED25519 host key is known for [127.0.0.1]:4022 and you have requested strict checking.\nHost key verification failed.'],
  ['openssh', 'HOST_KEY_CHANGED', 255, '@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n...\nHost key for [127.0.0.1]:4022 has changed and you have requested strict checking.\nHost key verification failed.'],
  ['openssh', 'HOST_KEY_REVOKED', 255, '@       WARNING: REVOKED HOST KEY DETECTED!               @\nED25519 host key for [127.0.0.1]:4022 was revoked and you have requested strict checking.\nHost key verification failed.'],
  ['openssh', 'REFUSED', 255, 'ssh: connect to host 127.0.0.1 port 4999: Connection refused'],
  ['openssh', 'DNS', 255, 'ssh: Could not resolve hostname no-such-host.invalid: Name or service not known'],
  ['openssh', 'CONNECT_TIMEOUT', 255, 'Connection timed out during banner exchange'],
  ['openssh', 'UNREACHABLE', 255, 'ssh: connect to host 10.79.0.7 port 22: No route to host'],
  ['openssh', 'NOT_SSH', 255, 'kex_exchange_identification: Connection closed by remote host'],
  ['openssh', 'NODE_MISSING', 127, 'sh: 1: exec: node: not found'],
];

describe('the texts of tools', () => {
  const OPTIONS = { container: 'web', pod: 'web', pid: 1, directory: '/', host: 'web', argv: ['x'] };

  it.each(TOOL_TEXTS)('%s: %s, exit status %i, %j', (method, reason, code, output) => {
    const { rules } = (COMMAND_METHODS[method] as CommandMethod<typeof OPTIONS>).plan(OPTIONS);
    expect(classifyExit({ phase: 'first-stage', output, exit: { code, signal: null } }, rules)).toMatchObject({ reason });
  });
});

describe('a refusal of ssh', () => {
  const reasonOf = (output: string): string => classifyExit({ phase: 'first-stage', output, exit: { code: 255, signal: null } }, COMMAND_METHODS.openssh.plan({ host: 'web' }).rules).reason;

  it('is known at the begin of a line, with and without the name of the host; elsewhere it is a banner (REFERENCE 215)', () => {
    for (const text of ['Permission denied (publickey,password).', 'Permission denied, please try again.', 'deploy@web1: Permission denied (publickey).']) {
      expect([text, `Welcome to web1\n${text}\r\n`].map(reasonOf)).toEqual(['AUTH_FAILED', 'AUTH_FAILED']);
      expect([`a banner: ${text}`, `Hint: "${text}"`].map(reasonOf)).toEqual(['CONNECT_EOF', 'CONNECT_EOF']);
    }
  });
});

describe('a terminal that cannot be made', () => {
  it.each([
    'script: failed to create pseudo-terminal: No space left on device',
    'script: openpty failed: No such file or directory',
  ])('is told as that: %s (REFERENCE 135)', (output) => {
    const error = classifyExit({ phase: 'first-stage', output, exit: { code: 1, signal: null } }, TTY_RULES);
    expect(error).toMatchObject({ reason: 'TTY_REQUIRED', phase: 'command', message: expect.stringContaining('no terminal could be made') });
    expect(error.message).toContain(output);
  });
});

describe('printable', () => {
  it('replaces what would act on a terminal', () => {
    expect(printable('a\u001b]0;title\u0007b\r\nc\rd\te\u009bf\u202eg\u0000')).toBe('a\ufffd]0;title\ufffdb\nc\ufffdd\te\ufffdf\ufffdg\ufffd');
  });

  it.each(['x', 'é', '€', '😀', '\u0001', '\ud83d'])('keeps the last 4 KiB of a long text of %j, whole characters only', (unit) => {
    const text = printable(`begin${unit.repeat(20_000)}end`);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
    expect(Buffer.byteLength(text)).toBeGreaterThan(4080);
    expect(text.endsWith('end')).toBe(true);
    expect(Buffer.from(text, 'utf8').toString('utf8')).toBe(text);
  });

  it('leaves a short text alone', () => {
    expect(printable('Grüße, 世界\n')).toBe('Grüße, 世界\n');
  });
});
