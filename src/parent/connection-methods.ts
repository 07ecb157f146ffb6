import type { ConnectedContext } from './connected-context.ts';
import type { LocalOptions } from './connection/local.ts';
import type { SshOptions } from './connection/ssh/options.ts';
import type { ContextOptions } from './context-options.ts';

/** Which Node to run there. */
export interface NodeOptions {
  /** A path or name, or a command with its leading arguments. Default `node`. */
  readonly nodePath?: string | readonly string[];
}

/** Every way to start a context: methods of a master, and of `router` in a child. */
export interface ConnectionMethods {
  /** Starts a child on the machine of the context that starts it. */
  local(options?: LocalOptions & ContextOptions): ConnectedContext;
  /** Starts a child over ssh, with the package `ssh2`, which must be installed at the master. */
  ssh(options: SshOptions & ContextOptions & NodeOptions): ConnectedContext;
}
