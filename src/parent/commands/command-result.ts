import { Observable } from 'rxjs';
import { CommandError } from './command-error.ts';

/** How a command ended: by itself with a code, or by a signal. The other one is null. */
export interface CommandExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How it ended, and all that it wrote. */
export interface CommandResult<Output extends string | Buffer = string> extends CommandExit {
  readonly stdout: Output;
  readonly stderr: Output;
}

/** Options of {@link RemoteCommand.result}. */
export interface ResultOptions {
  /** `utf8` gives texts, `buffer` bytes. Default `utf8`. */
  readonly encoding?: 'utf8' | 'buffer';
  /** Bytes that stdout and stderr may have each; a command that writes more is ended, with `ERR_TENDRIL_COMMAND_MAX_BUFFER`. Default 16 MiB. */
  readonly maxBuffer?: number;
}

const DEFAULT_MAX_BUFFER: number = 16 * 1024 * 1024;

/** Where the parts of a result come from. */
export interface ResultSources {
  readonly command: string;
  readonly exit: Observable<CommandExit>;
  readonly stdout: Observable<Uint8Array>;
  readonly stderr: Observable<Uint8Array>;
}

/** Waits for the end of a command and of its output. */
export function collect({ command, exit, stdout, stderr }: ResultSources, { encoding = 'utf8', maxBuffer = DEFAULT_MAX_BUFFER }: ResultOptions): Observable<CommandResult | CommandResult<Buffer>> {
  return new Observable((subscriber) => {
    let end: CommandExit | undefined;
    let open = 3;
    const texts = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    const error = (thrown: unknown): void => {
      subscriber.error(thrown);
    };
    const complete = (): void => {
      if (--open > 0 || end === undefined) return;
      const [out, err] = [Buffer.concat(texts.stdout), Buffer.concat(texts.stderr)];
      subscriber.next(encoding === 'buffer' ? { ...end, stdout: out, stderr: err } : { ...end, stdout: out.toString(), stderr: err.toString() });
      subscriber.complete();
    };
    const take = (source: Observable<Uint8Array>, name: 'stdout' | 'stderr'): void => {
      let bytes = 0;
      subscriber.add(source.subscribe({
        next: (chunk) => {
          texts[name].push(chunk);
          bytes += chunk.length;
          if (bytes > maxBuffer) subscriber.error(new CommandError('ERR_TENDRIL_COMMAND_MAX_BUFFER', `${command} wrote more than ${String(maxBuffer)} bytes to ${name}, and was ended; raise maxBuffer, or subscribe to ${name} and take it as it comes`));
        },
        error,
        complete,
      }));
    };
    subscriber.add(exit.subscribe({
      next: (exited) => {
        end = exited;
      },
      error,
      complete,
    }));
    take(stdout, 'stdout');
    take(stderr, 'stderr');
  });
}
