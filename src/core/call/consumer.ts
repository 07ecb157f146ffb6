import type { Subscriber, Unsubscribable } from 'rxjs';
import { ChannelError, DecodeError, TendrilError, UsageError } from '../errors.ts';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import type { Handler, Router } from '../routing/router.ts';
import { CallError } from '../wire/call-error.ts';
import { IS_DEAD, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { deadError, decodeValue, encodeValue } from '../wire/values.ts';
import type { Encoded } from '../wire/values.ts';
import { CONTROL_CANCEL, CONTROL_CREDIT, REPLY_COMPLETE, REPLY_ERROR, REPLY_NEXT, REPLY_RESULT } from './protocol.ts';
import type { CallControl, Reply } from './protocol.ts';
import { RemoteStream } from './remote-stream.ts';
import type { Connect, Delivery, WindowSize } from './remote-stream.ts';

/**
 * Takes the replies of one producer: the handler of a reply handle, and the teardown of its subscription. It grants credit
 * for what its subscriber is done with, and ends the stream of a producer that sends more than it was granted.
 */
export class Consumer implements Handler, Unsubscribable {
  /** The context may be another process by the time that the first message is sent. */
  respondent = 0;
  protected readonly scope: MailboxScope;
  protected readonly subscriber: Subscriber<unknown>;
  readonly #manual: boolean;
  protected readonly window: WindowSize;
  /** Our reply handle; 0 before anything is sent. */
  #handle = 0;
  /** Where the producer takes credit and cancels. */
  #controls = 0;
  protected settled = false;
  /** Received and not granted again. */
  #values = 0;
  #bytes = 0;
  /** The part of it that is dealt with. */
  #doneValues = 0;
  #doneBytes = 0;

  constructor(scope: MailboxScope, subscriber: Subscriber<unknown>, manual: boolean, window: WindowSize) {
    this.scope = scope;
    this.subscriber = subscriber;
    this.#manual = manual;
    this.window = window;
  }

  /** Sends what the producer answers to. */
  open(contextId: number, handle: number, controls: number, { data, tail }: Encoded): void {
    const { router } = this.scope;
    this.respondent = contextId;
    this.#controls = controls;
    this.#handle = router.allocateHandle();
    router.addHandler(this.#handle, this);
    router.send({ dstId: contextId, srcId: router.id, handle, replyTo: this.#handle, data, ...(tail && { tail }) });
  }

  unsubscribe(): void {
    if (this.#handle === 0) return;
    this.scope.router.removeHandler(this.#handle);
    if (!this.settled) this.#control(CONTROL_CANCEL);
  }

  deliver(message: Message): void {
    if (message.replyTo === IS_DEAD) {
      const error = deadError(message.data);
      // The producer is there and goes on; only one of its values could not be sent.
      if (error.reason === 'too-large') this.#control(CONTROL_CANCEL);
      this.settle(error);
      return;
    }
    let reply: Reply;
    try {
      reply = decodeReply(message, this.scope);
    } catch (error) {
      this.#violated(error as Error);
      return;
    }
    const [kind, value] = reply;
    switch (kind) {
      case REPLY_RESULT:
        this.settled = true;
        this.#give(value, 0, message);
        this.subscriber.complete();
        return;
      case REPLY_NEXT:
        this.#take(value, payloadLength(message), message);
        return;
      case REPLY_COMPLETE:
        this.settled = true;
        this.subscriber.complete();
        return;
      default:
        this.settle(value as Error);
    }
  }

  protected settle(error: Error): void {
    this.settled = true;
    this.subscriber.error(error);
  }

  #violated(error: Error): void {
    this.#control(CONTROL_CANCEL);
    this.settle(error);
  }

  #take(value: unknown, bytes: number, message: Message): void {
    const [values, most] = this.window;
    // One value may always be under way.
    if (this.#values > 0 && (this.#values >= values || this.#bytes >= most)) {
      this.#violated(new TendrilError('ERR_TENDRIL_CREDIT', 'the producer has sent more than it was granted'));
      return;
    }
    this.#values++;
    this.#bytes += bytes;
    this.#give(value, bytes, message);
  }

  #give(value: unknown, bytes: number, message: Message): void {
    if (!this.#manual) {
      this.subscriber.next(value);
      this.#done(bytes);
      return;
    }
    let done = false;
    this.subscriber.next({
      value,
      done: () => {
        if (!done) this.#done(bytes);
        done = true;
      },
      release: () => message.release?.(),
    } satisfies Delivery<unknown>);
  }

  /** Grants what is dealt with once it is half of what the producer may still send. */
  #done(bytes: number): void {
    this.#doneValues++;
    this.#doneBytes += bytes;
    const [values, most] = this.window;
    const kept = this.#values - this.#doneValues;
    const keptBytes = this.#bytes - this.#doneBytes;
    if (this.settled || this.subscriber.closed || (2 * this.#doneValues < values - kept && 2 * this.#doneBytes < most - keptBytes)) return;
    const granted = [this.#doneValues, this.#doneBytes] as const;
    this.#values = kept;
    this.#bytes = keptBytes;
    this.#doneValues = this.#doneBytes = 0;
    // Last: a producer in this process answers before it returns.
    this.#control(CONTROL_CREDIT, ...granted);
  }

  #control(...control: readonly [kind: number, values?: number, bytes?: number]): void {
    const { router } = this.scope;
    const { data } = encodeValue([this.#handle, ...control] satisfies CallControl);
    router.send({ dstId: this.respondent, srcId: router.id, handle: this.#controls, replyTo: 0, data });
  }
}

/** Makes streams of those that come in values: the producer waits at a handle of its own until it is opened, once. */
export function receiveStreams<Scope extends MailboxScope>(scope: Scope): Scope {
  scope.reviver.stream = (contextId, handle) => receivedStream(scope, contextId, handle);
  return scope;
}

/** Tells producers that nobody here can open their streams any more. */
const forgotten = new FinalizationRegistry<() => void>((dismiss) => {
  dismiss();
});

/** Made where nothing of the stream is in reach: what is registered keeps what it reaches. */
function dismissal(router: Router, contextId: number, handle: number): () => void {
  const { data } = encodeValue([0, CONTROL_CANCEL]);
  return () => {
    router.send({ dstId: contextId, srcId: router.id, handle, replyTo: 0, data });
  };
}

function receivedStream({ router, reviver }: MailboxScope, contextId: number, handle: number): RemoteStream<unknown> {
  let opened = false;
  const connect: Connect = (subscriber, manual, window) => {
    if (opened) throw new UsageError('ERR_TENDRIL_STREAM_USED', 'a stream can be consumed once; share() it where several want its values');
    opened = true;
    forgotten.unregister(connect);
    const consumer = new Consumer({ router, reviver }, subscriber, manual, window);
    consumer.open(contextId, handle, handle, encodeValue(window));
    return consumer;
  };
  // All that can open it has this function.
  forgotten.register(connect, dismissal(router, contextId, handle), connect);
  return new RemoteStream(router.broker.report, 'subscriber of a stream', connect);
}

function decodeReply(message: Message, scope: MailboxScope): Reply {
  const reply = decodeValue(message.data, message.tail, scope.reviver);
  if (!Array.isArray(reply)) throw new DecodeError('a reply is not an array');
  const [kind, value] = reply as [unknown, unknown];
  const valid = kind === REPLY_RESULT || kind === REPLY_NEXT || kind === REPLY_COMPLETE || (kind === REPLY_ERROR && (value instanceof CallError || value instanceof ChannelError));
  if (!valid) throw new DecodeError('a reply is of no known kind');
  return reply as unknown as Reply;
}
