import type { Observer, Subscriber } from 'rxjs';
import { ChannelError, DecodeError, messageOf } from '../errors.ts';
import type { DeadReason } from '../errors.ts';
import type { Router } from '../routing/router.ts';
import { IS_DEAD } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { decodeValue, deadError, encodeValue } from '../wire/values.ts';
import type { Reviver } from '../wire/revival.ts';
import { GuardedObservable } from './guarded-observable.ts';
import type { Policy } from './policy.ts';
import { Sender } from './sender.ts';

/** Messages that wait for the first subscriber before a mailbox overflows. */
export const DEFAULT_MAILBOX_BUFFER = 1024;

/** Options of a mailbox. */
export interface MailboxOptions {
  /** Who may send here, beside the context that the conversation is with. Default: this context and its parents. */
  readonly policy?: Policy;
  /** How many messages wait for the first subscriber. Default 1024; one more ends the mailbox with an error. */
  readonly bufferSize?: number;
}

/** What a mailbox needs of its context. */
export interface MailboxScope {
  readonly router: Router;
  readonly reviver: Reviver;
}

/** How a conversation has ended. */
type End = { readonly kind: 'complete' } | { readonly kind: 'error'; readonly error: ChannelError };

/**
 * A conversation on one handle (seed document, "Stream Protocol"; Mitogen's Channel).
 *
 * As an Observer it sends to the handle of the other context. As an Observable it gives what arrives on the same handle
 * here from that context; on `self.handle(n)` what arrives from anyone whom the policy admits. Nothing is lost: messages
 * wait for the first subscriber, later subscribers see what comes after them. It completes when the other side completes
 * it and errors with a ChannelError when the other side ends otherwise. When the last subscriber leaves, the handle is
 * given up; subscribing again takes it anew.
 */
export class Mailbox<T = unknown> extends GuardedObservable<T> implements Observer<T> {
  /** The number, on both sides. */
  readonly number: number;
  readonly #scope: MailboxScope;
  readonly #contextId: number;
  readonly #options: MailboxOptions;
  readonly #onUnused: () => void;
  readonly #subscribers = new Set<Subscriber<T>>();
  #buffer: T[] = [];
  #end: End | undefined;
  #registered = false;
  /** The first subscriber is getting what has waited; what arrives meanwhile waits behind it. */
  #handingOver = false;
  #refusalHandle = 0;

  /** @internal */
  constructor(scope: MailboxScope, contextId: number, number: number, options: MailboxOptions = {}, onUnused: () => void = () => undefined) {
    super(
      (error, where) => {
        scope.router.broker.report(error, where);
      },
      `subscriber of handle ${String(number)}`,
      (subscriber) => {
        this.#subscribe(subscriber);
      },
    );
    this.number = number;
    this.#scope = scope;
    this.#contextId = contextId;
    this.#options = options;
    this.#onUnused = onUnused;
    this.#register();
  }

  /** A reference to this mailbox that can be sent to other contexts. */
  get sender(): Sender<T> {
    return new Sender<T>(this.#scope.router, this.#scope.router.id, this.number);
  }

  /** True while messages for this handle are taken. */
  get open(): boolean {
    return this.#registered;
  }

  /** Sends a value. Throws an EncodeError when it cannot be sent. */
  next(value: T): void {
    const { router } = this.#scope;
    const { data, tail } = encodeValue(value, undefined, { router, contextId: this.#contextId });
    router.send({ dstId: this.#contextId, srcId: router.id, handle: this.number, replyTo: this.#refusals(), data, ...(tail && { tail }) });
  }

  /** Ends the other side's observable in order. */
  complete(): void {
    this.#scope.router.sendDead(this.#contextId, this.number, 'closed', 'Sender was explicitly closed');
  }

  /** Ends the other side's observable with a ChannelError that has this error's message. */
  error(error: unknown): void {
    this.#scope.router.sendDead(this.#contextId, this.number, 'error', messageOf(error));
  }

  /** Gives the handle up and completes the observable on this side. */
  close(): void {
    this.#finish({ kind: 'complete' });
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Fails the observable on this side. @internal */
  fail(error: ChannelError): void {
    this.#finish({ kind: 'error', error });
  }

  /** Whether others than the one context may send here, so that the number is ours alone. */
  get #shared(): boolean {
    return this.#contextId === this.#scope.router.id || this.#options.policy !== undefined;
  }

  #register(): void {
    const { router } = this.#scope;
    const { policy } = this.#options;
    const handler = {
      deliver: (message: Message) => {
        this.#deliver(message);
      },
      ...(policy && { policy }),
    };
    if (this.#shared) router.addHandler(this.number, this.#contextId === router.id ? handler : { ...handler, respondent: this.#contextId });
    else router.addConversation(this.#contextId, this.number, handler);
    this.#registered = true;
  }

  /** The handle on which hops and the other side tell that they could not take what we sent. */
  #refusals(): number {
    if (!this.#registered || this.#contextId === this.#scope.router.id) return 0;
    if (this.#refusalHandle === 0) {
      this.#refusalHandle = this.#scope.router.allocateHandle();
      this.#scope.router.addHandler(this.#refusalHandle, {
        deliver: (message) => {
          if (message.replyTo === IS_DEAD) this.#deliver(message);
        },
        respondent: this.#contextId,
      });
    }
    return this.#refusalHandle;
  }

  #subscribe(subscriber: Subscriber<T>): void {
    if (this.#end === undefined && !this.#registered) this.#register();
    this.#subscribers.add(subscriber);
    subscriber.add(() => {
      this.#subscribers.delete(subscriber);
      if (this.#subscribers.size === 0) this.#unregister();
    });
    if (this.#handingOver) return;
    this.#handingOver = true;
    while (this.#buffer.length > 0 && this.#subscribers.size > 0) this.#give(this.#buffer.shift() as T);
    this.#handingOver = false;
    this.#finishSubscribers();
  }

  #give(value: T): void {
    for (const each of [...this.#subscribers]) each.next(value);
  }

  #unregister(): void {
    if (!this.#registered) return;
    const { router } = this.#scope;
    this.#registered = false;
    if (this.#shared) router.removeHandler(this.number);
    else router.removeConversation(this.#contextId, this.number);
    if (this.#refusalHandle !== 0) router.removeHandler(this.#refusalHandle);
    this.#refusalHandle = 0;
    this.#onUnused();
  }

  #deliver(message: Message): void {
    if (message.replyTo === IS_DEAD) {
      const error = deadError(message.data);
      const orderly = error.reason === 'closed' || error.reason === 'broker-exit';
      this.#finish(orderly ? { kind: 'complete' } : { kind: 'error', error });
      return;
    }
    let value: T;
    try {
      value = decodeValue(message.data, message.tail, this.#scope.reviver) as T;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      // The sender may not wait for an answer, but a message that is lost must be seen somewhere.
      this.#scope.router.broker.report(error, `message of context ${String(message.srcId)} for handle ${String(this.number)}`);
      this.#refuse(message, 'error', error.message);
      return;
    }
    if (this.#subscribers.size > 0 && !this.#handingOver) {
      this.#give(value);
      return;
    }
    const { bufferSize = DEFAULT_MAILBOX_BUFFER } = this.#options;
    if (this.#buffer.length < bufferSize) {
      this.#buffer.push(value);
      return;
    }
    this.#refuse(message, 'mailbox-full', `nobody subscribed to handle ${String(this.number)} before ${String(bufferSize)} messages`);
    this.#finish({ kind: 'error', error: new ChannelError('mailbox-full', `handle ${String(this.number)} overflowed: ${String(bufferSize)} messages came before anyone subscribed; subscribe earlier or raise bufferSize`) });
  }

  #refuse(message: Message, reason: DeadReason, text: string): void {
    if (message.replyTo !== 0) this.#scope.router.sendDead(message.srcId, message.replyTo, reason, text);
  }

  #finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#unregister();
    if (!this.#handingOver) this.#finishSubscribers();
  }

  #finishSubscribers(): void {
    const end = this.#end;
    if (end !== undefined) for (const subscriber of [...this.#subscribers]) finish(subscriber, end);
  }
}

function finish<T>(subscriber: Subscriber<T>, end: End): void {
  if (end.kind === 'complete') subscriber.complete();
  else subscriber.error(end.error);
}
