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
