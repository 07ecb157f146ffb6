import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { Observable } from 'rxjs';
import { FIRST_STAGE } from '../bootstrap/first-stage.ts';
import { ConnectError } from './connect-error.ts';
import { pipeLink } from './pipe-link.ts';
import { ProcessTransport } from './process-transport.ts';
import type { Open, Transport } from './transport.ts';

/** Options of a child on this machine. */
export interface LocalOptions {
  /** Node to run: a path or name, or a command with its leading arguments. Default: the Node that runs this process. */
  readonly nodePath?: string | readonly string[];
  /** Working directory of the child. Default: that of this process. */
  readonly cwd?: string;
  /** Variables added to the environment of this process; undefined removes one. `NODE_OPTIONS` is always removed. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** What of our environment would change how a bare Node starts. */
export const NOT_INHERITED = { NODE_OPTIONS: undefined, NODE_CHANNEL_FD: undefined, NODE_V8_COVERAGE: undefined };

/** Starts a child on this machine. It gets the protocol on fds 3 and 4 directly, and a session of its own. */
export const openLocal: Open<LocalOptions & { readonly title: string }> = (options, _stage, broker) =>
  new Observable<Transport>((subscriber) => {
    const { nodePath = process.execPath, cwd, env } = options;
    const [command = '', ...leading] = typeof nodePath === 'string' ? [nodePath] : nodePath;
    const child = spawn(command, [...leading, '-e', FIRST_STAGE, options.title], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...NOT_INHERITED, ...env },
      ...(cwd !== undefined && { cwd }),
    });
    let given = false;
    child.once('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      subscriber.error(
        new ConnectError(missing ? 'NODE_MISSING' : error.code === 'EACCES' ? 'PERMISSION_DENIED' : 'SPAWN_FAILED', `cannot start ${command}: ${error.message}${missing ? '; give nodePath (or check cwd)' : ''}`, { phase: 'command', cause: error }),
      );
    });
    child.once('spawn', () => {
      const [, , , toChild, fromChild] = child.stdio;
      given = true;
      subscriber.next(new ProcessTransport(child, pipeLink(fromChild as Readable, toChild as Writable), broker, true));
      subscriber.complete();
    });
    return () => {
      if (!given) child.kill('SIGKILL');
    };
  });
