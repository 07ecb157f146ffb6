import { UsageError } from '../../core/errors.ts';
import type { Secret } from '../../core/wire/secret.ts';
import type { ByteSource } from '../byte-source.ts';
import { checkNames } from '../option-names.ts';

/** Milliseconds between SIGTERM and SIGKILL for a command that nobody wants any more. */
export const DEFAULT_COMMAND_GRACE_MS = 5000;

/** Options of a command. */
export interface ExecOptions {
  /** The working directory. Default: that of the context. */
  readonly cwd?: string;
  /** Changes to the environment of the context; undefined takes a variable away. A Secret is shown to the command only. */
  readonly env?: Readonly<Record<string, string | Secret | undefined>>;
  /** Runs the command by `/bin/sh -c`, or by the shell of this path. The arguments are joined by spaces, as `child_process` does. Default false. */
  readonly shell?: boolean | string;
  /** What the command reads. Default: nothing, /dev/null. For a dialogue, a Subject. */
  readonly stdin?: ByteSource;
  /** Whether an exit code other than 0, or a signal, is an error (`ERR_TENDRIL_COMMAND_FAILED`). Default false: it is data. */
  readonly check?: boolean;
  /** Aborting it ends the command, and fails all its observables with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Milliseconds between SIGTERM and SIGKILL when the command is ended by us. Default 5000. */
  readonly graceMs?: number;
}

/** Exactly those of {@link ExecOptions} (test/types.check.ts). */
export const EXEC_OPTIONS = ['cwd', 'env', 'shell', 'stdin', 'check', 'signal', 'graceMs'] as const satisfies readonly (keyof ExecOptions)[];

/** Throws a UsageError for what cannot be run. */
export function checkCommand(command: unknown, args: unknown, options: ExecOptions): void {
  checkNames('exec()', options, EXEC_OPTIONS);
  const { cwd, env, graceMs } = options;
  if (!isText(command) || command === '') throw refused('the command must be a text that is not empty');
  if (!Array.isArray(args) || !args.every(isText)) throw refused('the arguments must be a list of texts; what a command is to read in secret goes into `env` or its input');
  if (cwd !== undefined && !isText(cwd)) throw refused('the option cwd must be a path');
  for (const [name, value] of Object.entries(env ?? {})) {
    if (name === '' || /[=\0]/.test(name)) throw refused('the option env has a name that is empty, or has = or a NUL in it');
    if (typeof value === 'string' && !isText(value)) throw refused(`the value of ${name} in the option env has a NUL in it`);
  }
  if (graceMs !== undefined && !(graceMs >= 0)) throw refused('the option graceMs must be a number of milliseconds');
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

function refused(why: string): UsageError {
  return new UsageError('ERR_TENDRIL_BAD_OPTION', `exec(): ${why}`);
}
