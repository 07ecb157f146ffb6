import { TendrilError } from '../../core/errors.ts';
import { CallError } from '../../core/wire/call-error.ts';
import type { CommandExit, CommandResult } from './command-result.ts';

/** How a command ended, with its output where that was collected. */
type Ended = CommandExit | CommandResult | CommandResult<Buffer>;

/** A command could not be run, or ended otherwise than its caller wants. Its arguments are never in the message. */
export class CommandError extends TendrilError {
  static override readonly brand: string = 'CommandError';
  /** How it ended, where it has run to its end (`ERR_TENDRIL_COMMAND_FAILED`). */
  readonly result: Ended | undefined;

  constructor(code: string, message: string, options: ErrorOptions & { readonly result?: Ended } = {}) {
    super(code, message, options.cause === undefined ? undefined : { cause: options.cause });
    this.result = options.result;
  }
}

/** What the other end may say (src/remote/commands). */
const REMOTE: ReadonlySet<string> = new Set([
  'ERR_TENDRIL_COMMAND_NOT_FOUND',
  'ERR_TENDRIL_COMMAND_PERMISSION',
  'ERR_TENDRIL_COMMAND_CWD',
  'ERR_TENDRIL_COMMAND_SPAWN',
  'ERR_TENDRIL_COMMAND_OUTPUT',
  'ERR_TENDRIL_COMMAND_STDIN',
]);

/** The error of a call as that of a command, where it is one. */
export function commandError(error: unknown): unknown {
  return error instanceof CallError && REMOTE.has(error.code) ? new CommandError(error.code, error.message, { cause: error }) : error;
}

/** The error that an end is for who wants success. */
export function commandFailed(command: string, result: Ended): CommandError {
  const how = result.signal === null ? `with code ${String(result.code)}` : `by ${result.signal}`;
  return new CommandError('ERR_TENDRIL_COMMAND_FAILED', `${command} has failed: it ended ${how}; \`result\` of this error has more`, { result });
}
