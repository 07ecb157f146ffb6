import type { Subscriber } from 'rxjs';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import { CALL_CONTROL, CALL_FUNCTION } from '../wire/handles.ts';
import type { Destination, Kept } from '../wire/tags.ts';
import { encodeEnvelope } from '../wire/values.ts';
import { Consumer } from './consumer.ts';
import { WINDOW_BYTES, WINDOW_VALUES } from './protocol.ts';
import type { FunctionRef, RequestOptions } from './protocol.ts';
import { RemoteStream } from './remote-stream.ts';
import type { Window, WindowSize } from './remote-stream.ts';

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
  readonly window?: Window | undefined;
}

/** A call as a cold observable: every subscription sends one CALL_FUNCTION; unsubscribing cancels it. */
export function invoke<T>(scope: MailboxScope, spec: CallSpec): RemoteStream<T> {
  return new RemoteStream<T>(
    scope.router.broker.report,
    'subscriber of a call',
    (subscriber, manual, window) => {
      const call = new Invocation(scope, spec, subscriber, manual, window);
      call.start();
      return call;
    },
    spec.window,
  );
}

/** One call under way, at the caller. */
class Invocation extends Consumer {
  readonly #spec: CallSpec;
  #withdraw: (() => void) | undefined;
  #abortListener: (() => void) | undefined;
  /** Streams among the arguments. */
  readonly #streams: Kept[] = [];
  #failed = false;

  constructor(scope: MailboxScope, spec: CallSpec, ...consumer: [subscriber: Subscriber<unknown>, manual: boolean, window: WindowSize]) {
    super(scope, ...consumer);
    this.#spec = spec;
  }

  start(): void {
    const { signal, target } = this.#spec;
    target.calls++;
    if (signal) {
      if (signal.aborted) {
        this.subscriber.error(signal.reason);
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
        this.subscriber.error(error);
      },
    );
  }

  override unsubscribe(): void {
    this.#spec.target.calls--;
    for (const stream of this.#streams) stream.drop(!this.settled || this.#failed);
    this.#withdraw?.();
    this.#spec.signal?.removeEventListener('abort', this.#onAbort);
    super.unsubscribe();
  }

  protected override settle(error: Error): void {
    this.#failed = true;
    super.settle(error);
  }

  /** What is not as it is by default. */
  #options(): RequestOptions[] {
    const [values, bytes] = this.window;
    return values === WINDOW_VALUES && bytes === WINDOW_BYTES ? [] : [{ w: this.window }];
  }

  get #onAbort(): () => void {
    return (this.#abortListener ??= () => {
      this.subscriber.error(this.#spec.signal?.reason);
    });
  }

  #send(): void {
    const { target, chain, args } = this.#spec;
    const failed = chain === null ? undefined : target.chains.get(chain);
    if (failed !== undefined) {
      this.settle(failed);
      return;
    }
    try {
      const ref = this.#spec.ref();
      target.prepare(ref);
      const { contextId } = target;
      const { router } = this.scope;
      const to: Destination = { router, contextId, keep: (stream) => this.#streams.push(stream) };
      this.open(contextId, CALL_FUNCTION, CALL_CONTROL, encodeEnvelope([chain, ref.module, ref.className, ref.name, args, ...this.#options()], 4, 'args', to));
    } catch (error) {
      // The other side never hears of this call, so that its chain fails here.
      if (chain !== null) target.chains.set(chain, error as Error);
      this.settle(error as Error);
    }
  }
}
