import type { Observable, Subscriber, Unsubscribable } from 'rxjs';
import { ChannelError, DecodeError } from '../errors.ts';
import { GuardedObservable } from '../mailbox/guarded-observable.ts';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import type { Handler } from '../routing/router.ts';
import { CallError } from '../wire/call-error.ts';
import { IS_DEAD, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION } from '../wire/handles.ts';
import { deadError, decodeValue, encodeEnvelope, encodeValue } from '../wire/values.ts';
import { CONTROL_CANCEL, CONTROL_CREDIT, REPLY_COMPLETE, REPLY_ERROR, REPLY_NEXT, REPLY_RESULT, WINDOW_BYTES, WINDOW_VALUES } from './protocol.ts';
import type { CallControl, CallRequest, FunctionRef, Reply } from './protocol.ts';

/** Where a call goes and when it can be sent. */
export interface CallTarget {
  readonly contextId: number;
  /** Name of the context, for errors. */
  readonly name: string;
  /** Whether messages can be sent now. */
  readonly ready: boolean;
  /** How many calls are subscribed to and not settled. */
  calls: number;
  /** Runs `go` as soon as the context can take messages, or `fail` when it never will. The result withdraws both. */
  whenReady(go: () => void, fail: (error: Error) => void): (() => void) | undefined;
  /** Chains that have failed on this side, by their names. */
  readonly chains: Map<string, Error>;
  /** Sends what the function needs there ahead of the call, such as its module. Throws when it cannot be found. */
  prepare(ref: FunctionRef): void;
}

/** What a call is, before it is sent. */
export interface CallSpec {
  readonly target: CallTarget;
  readonly ref: () => FunctionRef;
  readonly args: readonly unknown[];
  readonly chain: string | null;
  readonly signal?: AbortSignal | undefined;
}

/** A call as a cold observable: every subscription sends one CALL_FUNCTION; unsubscribing cancels it. */
export function invoke<T>(scope: MailboxScope, spec: CallSpec): Observable<T> {
  return new GuardedObservable<T>(scope.router.broker.report, 'subscriber of a call', (subscriber) => {
    const call = new Invocation<T>(scope, spec, subscriber);
    call.start();
    return call;
  });
}

/** One call under way, at the caller: the handler of its reply handle, and the teardown of its subscription. */
class Invocation<T> implements Handler, Unsubscribable {
  /** The context may be another process by the time that the call is sent. */
  respondent = 0;
  readonly #scope: MailboxScope;
  readonly #spec: CallSpec;
  readonly #subscriber: Subscriber<T>;
  /** Our reply handle; 0 before the call is sent. */
  #handle = 0;
  #settled = false;
  #withdraw: (() => void) | undefined;
  #abortListener: (() => void) | undefined;
  /** Consumed since the last grant of credit. */
  #values = 0;
  #bytes = 0;

  constructor(scope: MailboxScope, spec: CallSpec, subscriber: Subscriber<T>) {
    this.#scope = scope;
    this.#spec = spec;
    this.#subscriber = subscriber;
  }

  start(): void {
    const { signal, target } = this.#spec;
    target.calls++;
    if (signal) {
      if (signal.aborted) {
        this.#subscriber.error(signal.reason);
        return;
      }
      signal.addEventListener('abort', this.#onAbort);
    }
    if (target.ready) {
      this.#send();
      return;
    }
    this.#withdraw = target.whenReady(
      () => {
        this.#send();
      },
      (error) => {
        this.#subscriber.error(error);
      },
    );
  }

  unsubscribe(): void {
    this.#spec.target.calls--;
    this.#withdraw?.();
    this.#spec.signal?.removeEventListener('abort', this.#onAbort);
    if (this.#handle === 0) return;
    this.#scope.router.removeHandler(this.#handle);
    if (!this.#settled) this.#control([this.#handle, CONTROL_CANCEL]);
  }

  get #onAbort(): () => void {
    return (this.#abortListener ??= () => {
      this.#subscriber.error(this.#spec.signal?.reason);
    });
  }

  #send(): void {
    const { target, chain, args } = this.#spec;
    const { router } = this.#scope;
    const failed = chain === null ? undefined : target.chains.get(chain);
    if (failed !== undefined) {
      this.#settle(failed);
      return;
    }
    try {
      const ref = this.#spec.ref();
      target.prepare(ref);
      const request: CallRequest = [chain, ref.module, ref.className, ref.name, args];
      const { data, tail } = encodeEnvelope(request, 4, 'args');
      this.#handle = router.allocateHandle();
      this.respondent = target.contextId;
      router.addHandler(this.#handle, this);
      router.send({ dstId: this.respondent, srcId: router.id, handle: ref.handle ?? CALL_FUNCTION, replyTo: this.#handle, data, ...(tail && { tail }) });
    } catch (error) {
      // The other side never hears of this call, so that its chain fails here.
      if (chain !== null) target.chains.set(chain, error as Error);
      this.#settle(error as Error);
    }
  }

  deliver(message: Message): void {
    if (message.replyTo === IS_DEAD) {
      const error = deadError(message.data);
      // The callee is there and goes on; only one of its values could not be sent.
      if (error.reason === 'too-large') this.#control([this.#handle, CONTROL_CANCEL]);
      this.#settle(error);
      return;
    }
    let reply: Reply;
    try {
      reply = decodeReply(message, this.#scope);
    } catch (error) {
      this.#control([this.#handle, CONTROL_CANCEL]);
      this.#settle(error as Error);
      return;
    }
    const [kind, value] = reply;
    switch (kind) {
      case REPLY_RESULT:
        this.#settled = true;
        this.#subscriber.next(value as T);
        this.#subscriber.complete();
        return;
      case REPLY_NEXT:
        this.#subscriber.next(value as T);
        this.#acknowledge(payloadLength(message));
        return;
      case REPLY_COMPLETE:
        this.#settled = true;
        this.#subscriber.complete();
        return;
      default:
        this.#settle(value as Error);
    }
  }

  #settle(error: Error): void {
    this.#settled = true;
    this.#subscriber.error(error);
  }

  /** Grants what was consumed once it is half a window. */
  #acknowledge(bytes: number): void {
    this.#values++;
    this.#bytes += bytes;
    if (this.#subscriber.closed || (this.#values < WINDOW_VALUES / 2 && this.#bytes < WINDOW_BYTES / 2)) return;
    this.#control([this.#handle, CONTROL_CREDIT, this.#values, this.#bytes]);
    this.#values = 0;
    this.#bytes = 0;
  }

  #control(control: CallControl): void {
    const { router } = this.#scope;
    const { data } = encodeValue(control);
    router.send({ dstId: this.respondent, srcId: router.id, handle: CALL_CONTROL, replyTo: 0, data });
  }
}

function decodeReply(message: Message, scope: MailboxScope): Reply {
  const reply = decodeValue(message.data, message.tail, scope.reviver);
  if (!Array.isArray(reply)) throw new DecodeError('a reply is not an array');
  const [kind, value] = reply as [unknown, unknown];
  const valid = kind === REPLY_RESULT || kind === REPLY_NEXT || kind === REPLY_COMPLETE || (kind === REPLY_ERROR && (value instanceof CallError || value instanceof ChannelError));
  if (!valid) throw new DecodeError('a reply is of no known kind');
  return reply as unknown as Reply;
}
