import { AsyncLocalStorage } from 'node:async_hooks';
import { windowOf } from '../core/call/credit.ts';
import type { CallTracker } from '../core/call/current-call.ts';
import { Execution } from '../core/call/execution.ts';
import type { ExecutionOwner } from '../core/call/execution.ts';
import { CONTROL_CANCEL, CONTROL_CREDIT } from '../core/call/protocol.ts';
import { ReplyPath } from '../core/call/reply-path.ts';
import { errorContent } from '../core/wire/call-error.ts';
import type { ErrorContent } from '../core/wire/call-error.ts';
import type { Handler, Router } from '../core/routing/router.ts';
import { IS_DEAD } from '../core/wire/frame.ts';
import type { Message } from '../core/wire/frame.ts';
import type { Destination, Kept } from '../core/wire/tags.ts';
import { decodeValue } from '../core/wire/values.ts';
import { release } from './source.ts';
import type { Source } from './source.ts';

const STOPPED: ErrorContent = ['AbortError', 'the call that the stream is an argument of has failed or was cancelled', '', 'ABORT_ERR', null];

/**
 * A source that waits at a handle of its own until the context that it was sent to opens it, and then sends its values with
 * credit, as a call does.
 */
export class Producer implements Handler, ExecutionOwner, Kept {
  readonly handle: number;
  readonly respondent: number;
  readonly #router: Router;
  readonly #source: Source<unknown>;
  /** The source goes on in the call in which it was sent. */
  readonly #tracker: Pick<CallTracker, 'run'>;
  #execution: Execution | undefined;
  #over = false;

  constructor(source: Source<unknown>, to: Destination) {
    const inContext = AsyncLocalStorage.snapshot();
    this.#tracker = { run: (_call, work) => inContext(work) };
    this.#source = source;
    this.#router = to.router;
    this.respondent = to.contextId;
    this.handle = to.router.allocateHandle();
    to.router.addHandler(this.handle, this);
    to.keep?.(this);
  }

  /** Whether it was taken back before anyone has opened it. */
  get unused(): boolean {
    return this.#over && this.#execution === undefined;
  }

  deliver(message: Message): void {
    // The consumer is gone.
    if (message.replyTo === IS_DEAD) this.#cancel();
    else if (message.replyTo === 0) this.#control(message);
    else if (this.#execution) this.#router.sendDead(message.srcId, message.replyTo, 'refused-by-policy', 'a stream can be opened once');
    else this.#open(message);
  }

  drop(evenOpen: boolean): void {
    if (this.#execution === undefined) this.#cancel();
    // Its consumer may be at work still, and is to hear of it.
    else if (evenOpen) this.#execution.reject(STOPPED);
  }

  #cancel(): void {
    if (this.#execution) this.#execution.cancel();
    else if (!this.#over) {
      this.over();
      release(this.#source);
    }
  }

  /** @internal */
  over(): void {
    this.#over = true;
    this.#router.removeHandler(this.handle);
  }

  /** @internal */
  hold(): () => void {
    return () => undefined;
  }

  #open(message: Message): void {
    // Replies need no reviver.
    const reply = new ReplyPath({ router: this.#router }, message);
    try {
      const execution = (this.#execution = new Execution(reply, message.srcId, this, windowOf(decodeValue(message.data, message.tail))));
      execution.run(this.#tracker, () => () => this.#source, []);
    } catch (error) {
      reply.error(errorContent(error));
    }
  }

  #control(message: Message): void {
    const control = decodeValue(message.data, message.tail);
    if (!Array.isArray(control)) return;
    const [, kind, values, bytes] = control as unknown[];
    if (kind === CONTROL_CANCEL) this.#cancel();
    else if (kind === CONTROL_CREDIT) this.#execution?.grant(values, bytes);
  }
}
