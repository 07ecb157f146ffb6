import { randomBytes } from 'node:crypto';
import type { RemoteModule } from '../core/call/types.ts';
import { Context } from '../core/context.ts';
import type { ContextScope } from '../core/context.ts';
import { REMOTE_ID } from '../importer/ids.ts';
import type * as Remote from '../remote/main.ts';
import { DEFAULT_COMMAND_GRACE_MS, checkCommand } from './commands/exec-options.ts';
import type { ExecOptions } from './commands/exec-options.ts';
import { RemoteCommand } from './commands/remote-command.ts';

/** A context in which more can be done than to call functions: this library has functions of its own there (src/remote). */
export class RemoteContext extends Context {
  readonly #scope: ContextScope;

  /** @internal */
  constructor(scope: ContextScope, id: number, name: string) {
    super(scope, id, name);
    this.#scope = scope;
  }

  /**
   * Runs a command in the context, without a shell: its output as observables with flow control, its end, a signal to its
   * process group. Nothing happens until one of its observables is subscribed to; see {@link RemoteCommand}.
   *
   * Its process group ends with the context: in order, when the context is killed, and when it hangs. What it has put into
   * another session of its own accord (a daemon) does not.
   *
   * Throws ERR_TENDRIL_BAD_OPTION for what cannot be run.
   *
   * @param command - a program on the PATH of the context, or its path
   */
  exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): RemoteCommand {
    checkCommand(command, args, options);
    const { cwd, env, shell, stdin, check = false, signal, graceMs = DEFAULT_COMMAND_GRACE_MS } = options;
    const changes = env && Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value ?? null]));
    return new RemoteCommand({
      broker: this.#scope.router.broker,
      remote: this.#remote(signal),
      key: randomBytes(12).toString('hex'),
      spec: { command, args: [...args], graceMs, ...(cwd !== undefined && { cwd }), ...(changes && { env: changes }), ...(shell !== undefined && { shell }) },
      stdin,
      check,
    });
  }

  /** Our own functions there. */
  #remote(signal?: AbortSignal): RemoteModule<typeof Remote> {
    return this.with(signal ? { signal } : {}).module<typeof Remote>(REMOTE_ID);
  }
}
