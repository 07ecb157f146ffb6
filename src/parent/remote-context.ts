import { randomBytes } from 'node:crypto';
import type { Observable } from 'rxjs';
import type { RemoteStream } from '../core/call/remote-stream.ts';
import type { RemoteModule } from '../core/call/types.ts';
import { Context } from '../core/context.ts';
import type { CallOptions, Callable, ContextScope } from '../core/context.ts';
import { REMOTE_ID } from '../importer/ids.ts';
import type * as Remote from '../remote/main.ts';
import type { ByteSource } from './byte-source.ts';
import { DEFAULT_COMMAND_GRACE_MS, checkCommand } from './commands/exec-options.ts';
import type { ExecOptions } from './commands/exec-options.ts';
import { RemoteCommand } from './commands/remote-command.ts';
import type { TransferOptions, TransferProgress, WriteOptions } from './files/file-options.ts';
import { pull, push, read, write } from './files/files.ts';
import type { Peer } from './files/transfer.ts';
import { checkNames } from './option-names.ts';

/** Exactly those of {@link CallOptions} (test/types.check.ts): what is misspelt is told. */
export const CALL_OPTIONS = ['chain', 'signal', 'window', 'deadline', 'inherit'] as const satisfies readonly (keyof CallOptions)[];

/** A context in which more can be done than to call functions: this library has functions of its own there (src/remote). */
export class RemoteContext extends Context {
  readonly #scope: ContextScope;

  /** @internal */
  constructor(scope: ContextScope, id: number, name: string) {
    super(scope, id, name);
    this.#scope = scope;
  }

  override with(options: CallOptions): Callable {
    checkNames('with()', options, CALL_OPTIONS);
    return super.with(options);
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

  /**
   * Writes a file or a directory of this process to the context. Cold: each subscription is one transfer, and unsubscribing
   * gives it up. Emits how far it is; the last emission has `done`, and comes when everything has its name.
   *
   * A file is written under another name in the same directory, checked by its checksum, and renamed: whoever looks sees the
   * old one or the new one. What fails, or is given up, leaves nothing. Where the context connects again by itself
   * (`reconnect`), a transfer goes on where it was.
   *
   * Errors: FileError; ERR_TENDRIL_BAD_OPTION; those of a call.
   *
   * @param local - a path here; symbolic links to it are followed
   * @param remote - the absolute path that it is to have there
   */
  push(local: string, remote: string, options: TransferOptions = {}): Observable<TransferProgress> {
    return push(this.peer(), local, remote, options);
  }

  /**
   * Reads a file or a directory of the context to this process, as {@link RemoteContext.push} does the other way. What the
   * context says is in a directory cannot lead out of `local`.
   *
   * @param remote - an absolute path there; symbolic links to it are followed
   * @param local - the path that it is to have here
   */
  pull(remote: string, local: string, options: TransferOptions = {}): Observable<TransferProgress> {
    return pull(this.peer(), remote, local, options);
  }

  /**
   * The bytes of a file of the context, in pieces, with flow control. Errors with ERR_TENDRIL_FILE_CHANGED, behind the last
   * piece, when the file was changed meanwhile. Cold.
   */
  read(remote: string): RemoteStream<Uint8Array> {
    return read(this.peer(), remote);
  }

  /** Writes a file of the context from bytes, a text, or a stream of them, as {@link RemoteContext.push} does from a file. */
  write(remote: string, source: ByteSource, options: WriteOptions = {}): Observable<TransferProgress> {
    return write(this.peer(), remote, source, options);
  }

  /** Whether it connects again by itself when it is lost. @internal */
  protected comesBack(): boolean {
    return false;
  }

  /** This context as the other end of a transfer. @internal */
  peer(): Peer {
    return { name: this.name, remote: this.#remote(), returns: this.comesBack(), report: this.#scope.router.broker.report };
  }

  /** Our own functions there. */
  #remote(signal?: AbortSignal): RemoteModule<typeof Remote> {
    return this.with(signal ? { signal } : {}).module<typeof Remote>(REMOTE_ID);
  }
}
