import type { Observer } from 'rxjs';
import { messageOf } from '../errors.ts';
import type { Router } from '../routing/router.ts';
import { TAG_SENDER, WIRE } from '../wire/tags.ts';
import type { Wired } from '../wire/tags.ts';
import { encodeValue } from '../wire/values.ts';

/**
 * A reference to a mailbox somewhere in the tree: an Observer that can be passed in calls and messages.
 * Mitogen's Sender (REFERENCE 2.2).
 */
export class Sender<T = unknown> implements Observer<T>, Wired {
  /** Context that the mailbox is in. */
  readonly contextId: number;
  /** Its handle there. */
  readonly handle: number;
  readonly #router: Router;

  /** @internal */
  constructor(router: Router, contextId: number, handle: number) {
    this.#router = router;
    this.contextId = contextId;
    this.handle = handle;
  }

  /** Sends a value. Throws an EncodeError when it cannot be sent. */
  next(value: T): void {
    const router = this.#router;
    const { data, tail } = encodeValue(value, undefined, { router, contextId: this.contextId });
    router.send({ dstId: this.contextId, srcId: router.id, handle: this.handle, replyTo: 0, data, ...(tail && { tail }) });
  }

  /** Completes the mailbox's observable. */
  complete(): void {
    this.#router.sendDead(this.contextId, this.handle, 'closed', 'Sender was explicitly closed');
  }

  /** Ends the mailbox's observable with a ChannelError that has this error's message. */
  error(error: unknown): void {
    this.#router.sendDead(this.contextId, this.handle, 'error', messageOf(error));
  }

  [WIRE](): { tag: number; content: unknown } {
    return { tag: TAG_SENDER, content: [this.contextId, this.handle] };
  }
}
