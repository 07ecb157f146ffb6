import type { RuntimeOption } from './bootstrap/ladder.ts';
import type { ConnectedContext } from './connected-context.ts';
import type { ChrootOptions } from './connection/commands/chroot.ts';
import type { CommandOptions } from './connection/commands/command.ts';
import type { DoasOptions } from './connection/commands/doas.ts';
import type { DockerOptions } from './connection/commands/docker.ts';
import type { KubectlOptions } from './connection/commands/kubectl.ts';
import type { LxcOptions } from './connection/commands/lxc.ts';
import type { NsenterOptions } from './connection/commands/nsenter.ts';
import type { OpensshOptions } from './connection/commands/openssh.ts';
import type { PodmanOptions } from './connection/commands/podman.ts';
import type { SuOptions } from './connection/commands/su.ts';
import type { SudoOptions } from './connection/commands/sudo.ts';
import type { LocalOptions } from './connection/local.ts';
import type { SshOptions } from './connection/ssh/options.ts';
import type { ContextOptions } from './context-options.ts';

/** Which Node to run there. */
export interface NodeOptions {
  /** A path or name, or a command with its leading arguments. Default `node`. */
  readonly nodePath?: string | readonly string[];
}

/** Options of every connection method that leaves this account or machine. */
export interface TargetOptions extends ContextOptions, NodeOptions {
  /** What to do where there is no `node`, or one that is too old. Default `search`. */
  readonly runtime?: RuntimeOption;
}

const TARGET = ['nodePath', 'runtime'] as const;

/**
 * The options of each method alone, by name; {@link CONTEXT_OPTIONS} come beside them. Here for who writes no types: what is
 * misspelt would be ignored.
 */
export const METHOD_OPTIONS = {
  local: ['nodePath', 'cwd', 'env'],
  ssh: [...TARGET, 'host', 'port', 'username', 'password', 'privateKey', 'identityFile', 'passphrase', 'agent', 'keyboardInteractive', 'hostKeys', 'knownHosts', 'sshConfig', 'keepaliveIntervalMs', 'keepaliveCountMax', 'connectTimeoutMs', 'authTimeoutMs', 'commandTimeoutMs', 'onWarning'],
  sudo: [...TARGET, 'username', 'password', 'preserveEnv', 'setHome', 'login', 'tty', 'sudoPath', 'sudoArgs'],
  su: [...TARGET, 'username', 'password', 'login', 'shell', 'prompt', 'suPath'],
  doas: [...TARGET, 'username', 'password', 'doasPath', 'doasArgs'],
  docker: [...TARGET, 'container', 'image', 'username', 'workdir', 'dockerPath', 'dockerArgs', 'execArgs'],
  podman: [...TARGET, 'container', 'username', 'workdir', 'podmanPath', 'podmanArgs', 'execArgs'],
  kubectl: [...TARGET, 'pod', 'container', 'namespace', 'kubeContext', 'kubeconfig', 'kubectlPath', 'kubectlArgs'],
  lxc: [...TARGET, 'container', 'lxcPath', 'lxcAttachPath', 'lxcAttachArgs'],
  nsenter: [...TARGET, 'pid', 'namespaces', 'uid', 'gid', 'nsenterPath', 'nsenterArgs'],
  chroot: [...TARGET, 'directory', 'username', 'chrootPath'],
  openssh: [...TARGET, 'host', 'port', 'username', 'password', 'passphrase', 'identityFile', 'certificateFile', 'identitiesOnly', 'proxyJump', 'hostKeys', 'knownHosts', 'configFile', 'controlPath', 'controlPersist', 'compression', 'serverAliveInterval', 'serverAliveCountMax', 'connectTimeout', 'sshPath', 'sshArgs'],
  command: [...TARGET, 'argv', 'takes', 'env', 'password', 'prompt', 'tty'],
} as const;

/**
 * Every way to start a context: methods of a master, and of `router` in a child. What is said of this machine is that of
 * the context which starts it: the option `via`, or else this one.
 */
export abstract class ConnectionMethods {
  /** Starts a child on the machine of the context that starts it. */
  local(options: LocalOptions & ContextOptions = {}): ConnectedContext {
    return this.make('local', options);
  }

  /** Starts a child over ssh, with the package `ssh2`, which must be installed at the master. */
  ssh(options: SshOptions & TargetOptions): ConnectedContext {
    return this.make('ssh', options);
  }

  /** Starts a child as another account of this machine, by sudo. */
  sudo(options: SudoOptions & TargetOptions = {}): ConnectedContext {
    return this.make('sudo', options);
  }

  /** Starts a child as another account of this machine, by su. */
  su(options: SuOptions & TargetOptions = {}): ConnectedContext {
    return this.make('su', options);
  }

  /** Starts a child as another account of this machine, by doas. */
  doas(options: DoasOptions & TargetOptions = {}): ConnectedContext {
    return this.make('doas', options);
  }

  /** Starts a child in a container of Docker. */
  docker(options: DockerOptions & TargetOptions): ConnectedContext {
    return this.make('docker', options);
  }

  /** Starts a child in a container of Podman. */
  podman(options: PodmanOptions & TargetOptions): ConnectedContext {
    return this.make('podman', options);
  }

  /** Starts a child in a pod of Kubernetes, by kubectl. */
  kubectl(options: KubectlOptions & TargetOptions): ConnectedContext {
    return this.make('kubectl', options);
  }

  /** Starts a child in a container of LXC. */
  lxc(options: LxcOptions & TargetOptions): ConnectedContext {
    return this.make('lxc', options);
  }

  /** Starts a child in the namespaces of a process of this machine. */
  nsenter(options: NsenterOptions & TargetOptions): ConnectedContext {
    return this.make('nsenter', options);
  }

  /** Starts a child in another root directory of this machine. */
  chroot(options: ChrootOptions & TargetOptions): ConnectedContext {
    return this.make('chroot', options);
  }

  /** Starts a child on a host, by the ssh client of this machine. */
  openssh(options: OpensshOptions & TargetOptions): ConnectedContext {
    return this.make('openssh', options);
  }

  /** Starts a child behind a command of your own, such as `ip netns exec blue`. */
  command(options: CommandOptions & TargetOptions): ConnectedContext {
    return this.make('command', options);
  }

  /** @internal */
  protected abstract make(method: string, options: object): ConnectedContext;
}
