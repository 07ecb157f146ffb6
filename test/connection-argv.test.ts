import { describe, expect, it } from '@jest/globals';
import { Secret } from 'tendril';
import { firstStage } from '../src/parent/bootstrap/first-stage.ts';
import { COMMAND_METHODS } from '../src/parent/connection/commands/methods.ts';
import { commandLine } from '../src/parent/connection/commands/open-command.ts';
import type { CommandMethod } from '../src/parent/connection/commands/plan.ts';
import { underTerminal } from '../src/parent/connection/commands/terminal.ts';

const STAGE = { shellLine: 'LINE', argv: ['sh', '-c', 'SCRIPT'] };
const TAIL = ['sh', '-c', 'SCRIPT'];

/** The method of a name, for options of any kind: the tables below have wrong ones too. */
function method(name: string): CommandMethod<unknown> {
  return (COMMAND_METHODS as unknown as Record<string, CommandMethod<unknown>>)[name]!;
}

const SSH = ['-T', '-o', 'LogLevel=ERROR', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=yes', '-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=3', '-o', 'ConnectTimeout=20'];

const LINES: readonly [name: string, options: unknown, argv: readonly string[]][] = [
  ['sudo', {}, ['sudo', '-n', '-p', 'tendril-sudo-prompt:', '-u', 'root', '--', ...TAIL]],
  ['sudo', { username: 'deploy', password: 'x', preserveEnv: true, setHome: true, login: true, sudoPath: '/opt/sudo', sudoArgs: ['-r', 'unconfined_r', '-t', 'unconfined_t'] }, ['/opt/sudo', '-S', '-p', 'tendril-sudo-prompt:', '-u', 'deploy', '-E', '-H', '-i', '-r', 'unconfined_r', '-t', 'unconfined_t', '--', ...TAIL]],
  ['su', {}, ['su', 'root', '-c', 'LINE']],
  ['su', { username: 'deploy', password: new Secret('x'), login: true, shell: '/bin/sh', suPath: '/opt/su' }, ['/opt/su', '-', '-s', '/bin/sh', 'deploy', '-c', 'LINE']],
  ['doas', {}, ['doas', '-n', '-u', 'root', '--', ...TAIL]],
  ['doas', { username: 'deploy', password: 'x', doasPath: '/opt/doas', doasArgs: ['-C', '/etc/doas.conf'] }, ['/opt/doas', '-u', 'deploy', '-C', '/etc/doas.conf', '--', ...TAIL]],
  ['docker', { container: 'web' }, ['docker', 'exec', '--interactive', 'web', ...TAIL]],
  ['docker', { container: 'web', username: 'app:app', workdir: '/srv', dockerPath: '/opt/docker', dockerArgs: ['--context', 'build'], execArgs: ['--env', 'A=b'] }, ['/opt/docker', '--context', 'build', 'exec', '--interactive', '--user=app:app', '--workdir=/srv', '--env', 'A=b', 'web', ...TAIL]],
  ['docker', { image: 'node:20' }, ['docker', 'run', '--init', '--interactive', '--rm', 'node:20', ...TAIL]],
  ['podman', { container: 'web' }, ['podman', 'exec', '--interactive', '--', 'web', ...TAIL]],
  ['podman', { container: 'web', username: 'app', workdir: '/srv', podmanPath: '/opt/podman', podmanArgs: ['--remote'], execArgs: ['--privileged'] }, ['/opt/podman', '--remote', 'exec', '--user=app', '--workdir=/srv', '--interactive', '--privileged', '--', 'web', ...TAIL]],
  ['kubectl', { pod: 'web-0' }, ['kubectl', 'exec', '--stdin', 'web-0', '--', ...TAIL]],
  ['kubectl', { pod: 'deploy/web', container: 'app', namespace: 'prod', kubeContext: 'east', kubeconfig: '/etc/kube', kubectlPath: '/opt/kubectl', kubectlArgs: ['--request-timeout=5s'] }, ['/opt/kubectl', '--kubeconfig=/etc/kube', '--context=east', '--namespace=prod', '--request-timeout=5s', 'exec', '--stdin', 'deploy/web', '--container=app', '--', ...TAIL]],
  ['lxc', { container: 'web' }, ['lxc-attach', '--clear-env', '--name', 'web', '--', ...TAIL]],
  ['lxc', { container: 'web', lxcPath: '/srv/lxc', lxcAttachPath: '/opt/lxc-attach', lxcAttachArgs: ['--keep-var', 'TERM'] }, ['/opt/lxc-attach', '-P', '/srv/lxc', '--clear-env', '--name', 'web', '--keep-var', 'TERM', '--', ...TAIL]],
  ['nsenter', { pid: 42 }, ['nsenter', '--target=42', '--mount', '--uts', '--ipc', '--net', '--pid', '--', ...TAIL]],
  ['nsenter', { pid: 42, namespaces: ['net', 'user'], uid: 0, gid: 1000, nsenterPath: '/opt/nsenter', nsenterArgs: ['--preserve-credentials'] }, ['/opt/nsenter', '--target=42', '--net', '--user', '--setuid=0', '--setgid=1000', '--preserve-credentials', '--', ...TAIL]],
  ['chroot', { directory: '/srv/root' }, ['chroot', '/srv/root', ...TAIL]],
  ['chroot', { directory: '/srv/root', username: '1000:1000', chrootPath: '/opt/chroot' }, ['/opt/chroot', '--userspec=1000:1000', '/srv/root', ...TAIL]],
  ['openssh', { host: 'web1' }, ['ssh', ...SSH, '--', 'web1', 'LINE']],
  [
    'openssh',
    { host: 'web1', port: 2222, username: 'deploy', password: 'x', identityFile: '/k', certificateFile: '/k-cert.pub', proxyJump: 'bastion', hostKeys: 'accept-new', knownHosts: '/kh', configFile: 'none', controlPath: '/run/%C', compression: true, serverAliveInterval: 5, serverAliveCountMax: 2, connectTimeout: 7, sshPath: '/opt/ssh', sshArgs: ['-4'] },
    ['/opt/ssh', '-F', 'none', '-T', '-o', 'LogLevel=ERROR', '-o', 'NumberOfPasswordPrompts=1', '-o', 'StrictHostKeyChecking=accept-new', '-o', 'UserKnownHostsFile=/kh', '-o', 'GlobalKnownHostsFile=/dev/null', '-o', 'ServerAliveInterval=5', '-o', 'ServerAliveCountMax=2', '-o', 'ConnectTimeout=7', '-l', 'deploy', '-p', '2222', '-i', '/k', '-o', 'IdentitiesOnly=yes', '-o', 'CertificateFile=/k-cert.pub', '-J', 'bastion', '-o', 'ControlMaster=auto', '-o', 'ControlPath=/run/%C', '-o', 'ControlPersist=60', '-C', '-4', '--', 'web1', 'LINE'],
  ],
  ['openssh', { host: 'web1', hostKeys: 'ignore' }, ['ssh', '-T', '-o', 'LogLevel=ERROR', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'GlobalKnownHostsFile=/dev/null', '-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=3', '-o', 'ConnectTimeout=20', '--', 'web1', 'LINE']],
  ['command', { argv: ['nice', '-n', '5'] }, ['nice', '-n', '5', ...TAIL]],
  ['command', { argv: ['ssh', 'web1'], takes: 'line' }, ['ssh', 'web1', 'LINE']],
  // Tools without a method of their own are commands like any other.
  ['command', { argv: ['buildah', 'run', '--', 'web'] }, ['buildah', 'run', '--', 'web', ...TAIL]],
  ['command', { argv: ['lxc', 'exec', '--mode=non-interactive', 'web', '--'] }, ['lxc', 'exec', '--mode=non-interactive', 'web', '--', ...TAIL]],
  ['command', { argv: ['incus', 'exec', '--mode=non-interactive', 'web', '--'] }, ['incus', 'exec', '--mode=non-interactive', 'web', '--', ...TAIL]],
  ['command', { argv: ['jexec', 'web'] }, ['jexec', 'web', ...TAIL]],
];

const WRONG: readonly [name: string, options: unknown, option: string][] = [
  ['sudo', { username: '-u' }, 'username'],
  ['sudo', { username: 'two words' }, 'username'],
  ['sudo', { password: 'one\ntwo' }, 'password'],
  ['sudo', { password: new Secret('') }, 'password'],
  ['sudo', { password: 42 }, 'password'],
  ['sudo', { login: 'yes' }, 'login'],
  ['sudo', { sudoArgs: '-r role' }, 'sudoArgs'],
  ['su', { username: '' }, 'username'],
  ['su', { shell: '-c' }, 'shell'],
  ['doas', { doasPath: '' }, 'doasPath'],
  ['docker', {}, 'container'],
  ['docker', { container: 'a', image: 'b' }, 'container'],
  ['docker', { container: '--privileged' }, 'container'],
  ['podman', { container: 'a b' }, 'container'],
  ['kubectl', { pod: '-n' }, 'pod'],
  ['kubectl', { pod: 'web', namespace: 'a\0b' }, 'namespace'],
  ['lxc', { container: undefined }, 'container'],
  ['nsenter', { pid: 0 }, 'pid'],
  ['nsenter', { pid: '1' }, 'pid'],
  ['nsenter', { pid: 1, namespaces: ['all'] }, 'namespaces'],
  ['nsenter', { pid: 1, namespaces: [] }, 'namespaces'],
  ['nsenter', { pid: 1, uid: -1 }, 'uid'],
  ['chroot', { directory: '-x' }, 'directory'],
  ['openssh', { host: '-oProxyCommand=x' }, 'host'],
  ['openssh', { host: 'web1', port: 70_000 }, 'port'],
  ['openssh', { host: 'web1', hostKeys: 'maybe' }, 'hostKeys'],
  ['openssh', { host: 'web1', controlPersist: 0.5, controlPath: '/x' }, 'controlPersist'],
  ['command', { argv: [] }, 'argv'],
  ['command', { argv: ['-x'] }, 'argv'],
  ['command', { argv: ['x'], takes: 'stdin' }, 'takes'],
  ['command', { argv: ['x'], password: 'y' }, 'prompt'],
  ['command', { argv: ['x'], env: { A: 1 } }, 'env'],
];

describe('command lines of connection methods (REFERENCE 222, 226)', () => {
  it.each(LINES)('%s %j', (name, options, argv) => {
    expect(commandLine(method(name).plan(options), STAGE)).toEqual(argv);
  });

  it.each(WRONG)('%s %j is refused', (name, options, option) => {
    expect(() => method(name).plan(options)).toThrow(expect.objectContaining({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining(`the ${name} option ${option} must be`) }));
  });

  it('never has a password in it, nor in a message', () => {
    for (const [name, options] of LINES) {
      const plan = method(name).plan({ ...(options as object), password: 'hunter2-secret', prompt: 'Password: ' });
      const { argv, env, rules, stage, tty } = plan;
      expect(JSON.stringify([argv, env, rules, stage, tty])).not.toContain('hunter2');
    }
    expect(() => method('sudo').plan({ password: 'hunter2\n' })).toThrow(expect.not.objectContaining({ message: expect.stringContaining('hunter2') }));
  });

  it('gives ssh a terminal where it is to ask for a password, and for no way to look at host keys (REFERENCE 216)', () => {
    const ttyOf = (options: object): unknown => method('openssh').plan({ host: 'web1', ...options }).tty;
    expect(['enforce', 'accept-new', 'ignore'].map((hostKeys) => ttyOf({ hostKeys }))).toEqual([undefined, undefined, undefined]);
    expect([ttyOf({ password: 'x' }), ttyOf({ passphrase: 'x' })]).toEqual(['asks', 'asks']);
  });

  it('keeps every word of a command behind a terminal', () => {
    const words = ['sudo', "it's", 'a "b" $c `d` \\ !', '', firstStage('t').argv[2]!];
    const [program, flags, line, file] = underTerminal(words);
    expect([program, flags, file]).toEqual(['script', '-qec', '/dev/null']);
    expect(line).toMatch(/^exec 0<&3 1>&4 2>&5 3<&- 4>&- 5>&-;exec sudo 'it'"'"'s' 'a "b" \$c `d` \\ !' '' 'exec 3<&0/);
  });
});
