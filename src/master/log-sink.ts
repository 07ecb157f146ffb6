import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import { guarded } from '../core/mailbox/guarded-observable.ts';
import { LOG_LEVELS } from '../core/config.ts';
import type { LogLevel } from '../core/config.ts';

/** One record of the tree's log. */
export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  /** `tendril.ctx.<name>` for records of a context, with `.<logger>` behind it for a named one; `tendril` for our own. */
  readonly logger: string;
  /** Name of the context that the record is from. */
  readonly context: string;
  readonly contextId: number;
  /** For lines of output: where they were written. `stdio` when the transport merges both. */
  readonly stream?: 'stdout' | 'stderr' | 'stdio';
}

/** What takes the records: any winston logger does. */
export interface Logger {
  log(level: string, message: string, meta: Omit<LogRecord, 'level' | 'message'>): unknown;
}

/** Collects the records of the tree, and hands them to the user's logger or to winston. */
export class LogSink {
  /** All records that pass the level, in order of arrival. Hot. */
  readonly records: Observable<LogRecord>;
  readonly level: LogLevel;
  readonly #records = new Subject<LogRecord>();
  readonly #report: (error: unknown, where: string) => void;
  #logger: Logger | undefined;
  #loading: Promise<void> | undefined;
  #waiting: LogRecord[] = [];

  /**
   * @param logger - false for none; undefined for winston on stderr, loaded with the first record (it takes 0.1 s)
   * @param report - told when a logger throws
   */
  constructor(logger: Logger | false | undefined, level: LogLevel, report: (error: unknown, where: string) => void) {
    this.records = guarded(this.#records, report, 'subscriber of the log');
    this.level = level;
    this.#report = report;
    if (logger === false) this.#logger = { log: () => undefined };
    else this.#logger = logger;
  }

  write(record: LogRecord): void {
    if (LOG_LEVELS[record.level] > LOG_LEVELS[this.level]) return;
    this.#records.next(record);
    if (this.#logger) this.#pass(this.#logger, record);
    else {
      this.#waiting.push(record);
      this.#loading ??= this.#loadWinston();
    }
  }

  /** Resolves when everything written so far is with the logger. */
  async flush(): Promise<void> {
    await this.#loading;
  }

  #pass(logger: Logger, { level, message, ...meta }: LogRecord): void {
    try {
      logger.log(level, message, meta);
    } catch (error) {
      this.#report(error, 'the logger');
    }
  }

  async #loadWinston(): Promise<void> {
    const { consoleLogger } = await import('./console-logger.ts');
    this.#logger = consoleLogger(this.level);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const record of waiting) this.#pass(this.#logger, record);
  }
}
