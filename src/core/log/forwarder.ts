import { LOG_LEVELS } from '../config.ts';
import type { LogLevel } from '../config.ts';
import type { Router } from '../routing/router.ts';
import { FORWARD_LOG } from '../wire/handles.ts';
import { encodeValue } from '../wire/values.ts';
import { RateLimit } from './rate-limit.ts';

/** Payload of FORWARD_LOG: which logger of the context, how urgent, the text. */
export type LogContent = readonly [logger: string, level: LogLevel, text: string];

/** Characters of one record; the rest is cut. */
const MAX_TEXT: number = 128 * 1024;

/** How many records are written at once, each by itself, within so many milliseconds. */
const FLUSHES_PER_WINDOW = 16;
const FLUSH_WINDOW_MS = 10;

/** The logger of a child: drops what is below the level that was copied down, sends the rest to the master. */
export class LogForwarder {
  readonly #router: Router;
  readonly #masterId: number;
  readonly #rank: number;
  readonly #flush: () => void;
  /** Every record goes out at once: the process is about to end, and there will be no other turn. */
  urgent = false;
  readonly #flushes = new RateLimit(FLUSHES_PER_WINDOW, FLUSH_WINDOW_MS);

  /** @param flush - writes what was sent: a record must not wait for the end of a turn that may never end */
  constructor(router: Router, masterId: number, level: LogLevel, flush: () => void) {
    this.#router = router;
    this.#masterId = masterId;
    this.#rank = LOG_LEVELS[level];
    this.#flush = flush;
  }

  /** Sends a record of `logger`. */
  record(logger: string, level: LogLevel, text: string): void {
    if (LOG_LEVELS[level] > this.#rank) return;
    const cut = text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)} ... [cut]`;
    const { data, tail } = encodeValue([logger, level, cut] satisfies LogContent);
    this.#router.send({ dstId: this.#masterId, srcId: this.#router.id, handle: FORWARD_LOG, replyTo: 0, data, ...(tail && { tail }) });
    // At once, as long as there are few records; a flood goes in batches, for a write of its own costs each ten times more.
    if (this.urgent || this.#flushes.admits(this.#router.broker.now())) this.#flush();
  }

  error(text: string): void {
    this.record('', 'error', text);
  }

  warn(text: string): void {
    this.record('', 'warn', text);
  }

  info(text: string): void {
    this.record('', 'info', text);
  }

  debug(text: string): void {
    this.record('', 'debug', text);
  }
}
