import type { MailboxScope } from '../mailbox/mailbox.ts';
import { CallError } from '../wire/call-error.ts';
import type { ErrorContent } from '../wire/call-error.ts';
import type { Message } from '../wire/frame.ts';
import { encodeEnvelope } from '../wire/values.ts';
import type { Encoded } from '../wire/values.ts';
import { REPLY_COMPLETE, REPLY_ERROR, callKey } from './protocol.ts';

/** Sends the replies to one call. */
export class ReplyPath {
  /** Identifies the call in this context: reply handles are unique within the caller only. */
  readonly key: number;
  readonly #scope: Pick<MailboxScope, 'router'>;
  readonly #callerId: number;
  readonly #handle: number;

  constructor(scope: Pick<MailboxScope, 'router'>, call: Message) {
    this.#scope = scope;
    this.#callerId = call.srcId;
    this.#handle = call.replyTo;
    this.key = callKey(call.srcId, call.replyTo);
  }

  /** Encodes `[kind, value]`; throws an EncodeError whose path begins with `result`. */
  encode(kind: number, value: unknown): Encoded {
    return encodeEnvelope([kind, value], 1, 'result', { router: this.#scope.router, contextId: this.#callerId });
  }

  send({ data, tail }: Encoded): void {
    if (this.#handle === 0) return;
    const { router } = this.#scope;
    router.send({ dstId: this.#callerId, srcId: router.id, handle: this.#handle, replyTo: 0, data, ...(tail && { tail }) });
  }

  /** For what goes wrong when nobody waits any more. */
  fault(thrown: unknown): void {
    this.#scope.router.broker.report(thrown, 'teardown of a call');
  }

  error(content: ErrorContent): void {
    this.send(this.encode(REPLY_ERROR, new CallError(content)));
  }

  complete(): void {
    this.send(this.encode(REPLY_COMPLETE, null));
  }
}
