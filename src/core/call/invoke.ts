import type { Subscriber, Subscription } from 'rxjs';
import { DeadlineError, UsageError } from '../errors.ts';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import type { Router } from '../routing/router.ts';
import { CALL_CONTROL, CALL_FUNCTION } from '../wire/handles.ts';
import type { Destination, Kept } from '../wire/tags.ts';
import { encodeEnvelope } from '../wire/values.ts';
import { onAbort } from './abort.ts';
import { Consumer } from './consumer.ts';
import { windowOf } from './credit.ts';
import type { CurrentCall } from './current-call.ts';
import { dependentCalls, noteCall, release } from './dependent.ts';
import { FLOW_MODULE } from './protocol.ts';
import type { CallRequest, FunctionRef, RequestOptions } from './protocol.ts';
import { DEFAULT_WINDOW, RemoteStream } from './remote-stream.ts';
import type { Window, WindowSize } from './remote-stream.ts';

// The caller's side of calls: in masters, and in children once they make contexts. Not in the bundle of the core.

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
  /** Milliseconds. */
  readonly deadline?: number | undefined;
  /** Whether it ends with the call in which it is made. */
  readonly inherit?: boolean | undefined;
}

/** What a caller has. */
export interface CallerScope extends MailboxScope {
  /** The call that the running code belongs to. */
  readonly current?: () => CurrentCall | undefined;
}

/** A call as a cold observable: every subscription sends one CALL_FUNCTION; unsubscribing cancels it. */
export function invoke<T>(scope: CallerScope, spec: CallSpec): RemoteStream<T> {
  const result = new RemoteStream<T>(
    scope.router.broker.report,
    'subscriber of a call',
    (subscriber, manual, window) => {
      const dependent = spec.chain === null ? undefined : dependentCalls(scope, spec);
      const current = spec.inherit === false ? undefined : scope.current?.();
      const call = new Invocation(scope, dependent?.last ?? spec, subscriber, manual, window);
      if (dependent === undefined) {
        call.start(current);
        return call;
      }
      // What becomes of them shows in the call that takes their results.
      const first = dependent.first.map((needed) => invoke(scope, needed).subscribe({ error: () => undefined }));
      call.start(current);
      return {
        unsubscribe: () => {
          call.unsubscribe();
          for (const one of first) one.unsubscribe();
          release(scope, spec, dependent.keys);
        },
      };
    },
    spec.window,
  );
  noteCall(result, spec);
  return result;
}

/** Chains that have failed which are remembered for a context; the oldest are forgotten. */
const MAX_FAILED_CHAINS = 1024;

/** One call under way, at the caller. */
class Invocation extends Consumer implements Destination {
  readonly #spec: CallSpec;
  #withdraw: (() => void) | undefined;
  /** Withdraw it from the signals that end it. */
  #leaves: (() => void)[] | undefined;
  /** In the time of the broker. */
  #deadline = Infinity;
  #timer: Subscription | undefined;
  /** Streams among the arguments. */
  #streams: Kept[] | undefined;
  #failed = false;

  constructor(scope: MailboxScope, spec: CallSpec, ...consumer: [subscriber: Subscriber<unknown>, manual: boolean, window: WindowSize]) {
    super(scope, ...consumer);
    this.#spec = spec;
  }

  start(outer: CurrentCall | undefined): void {
    const { signal, target, deadline } = this.#spec;
    target.calls++;
    if (deadline !== undefined && !(typeof deadline === 'number' && deadline > 0)) {
      this.settle(new UsageError('ERR_TENDRIL_BAD_OPTION', `the option deadline is a number of milliseconds, got ${String(deadline)}`));
      return;
    }
    if (signal) this.#endWith(signal);
    if (outer) this.#endWith(outer.signal);
    if (this.subscriber.closed) return;
    if (deadline !== undefined || outer?.deadline !== undefined) this.#limit(deadline, outer?.deadline);
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
    this.#withdraw?.();
    this.#timer?.unsubscribe();
    for (const leave of this.#leaves ?? []) leave();
    for (const stream of this.#streams ?? []) stream.drop(!this.settled || this.#failed);
    super.unsubscribe();
  }

  protected override settle(error: Error): void {
    this.#failed = true;
    const { chain, target } = this.#spec;
    // Also when the context is lost: another may be there when the next call of the chain is made.
    if (chain !== null && !target.chains.has(chain)) {
      const [oldest] = target.chains.keys();
      if (oldest !== undefined && target.chains.size >= MAX_FAILED_CHAINS) target.chains.delete(oldest);
      target.chains.set(chain, error);
    }
    super.settle(error);
  }

  #endWith(signal: AbortSignal): void {
    const abort = (): void => {
      this.subscriber.error(signal.reason);
    };
    if (signal.aborted) abort();
    else (this.#leaves ??= []).push(onAbort(signal, abort));
  }

  /** Ends the call when its time is over, or that of the call in which it is made. */
  #limit(ms = Infinity, outer = Infinity): void {
    const { broker } = this.scope.router;
    const now = broker.now();
    this.#deadline = Math.min(now + ms, outer);
    if (this.#deadline === Infinity) return;
    const left = this.#deadline - now;
    this.#timer = broker.after(left, () => {
      this.subscriber.error(new DeadlineError(this.#spec.target.name, left));
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
      const options = this.#options();
      const ref = this.#spec.ref();
      target.prepare(ref);
      const { contextId } = target;
      const request: CallRequest = options ? [chain, ref.module, ref.className, ref.name, args, options] : [chain, ref.module, ref.className, ref.name, args];
      const encoded = encodeEnvelope(request, 4, 'args', this);
      if (this.#streams) target.prepare({ module: FLOW_MODULE, className: null, name: '' });
      this.open(contextId, ref.handle ?? CALL_FUNCTION, CALL_CONTROL, encoded);
    } catch (error) {
      this.settle(error as Error);
    }
  }

  get router(): Router {
    return this.scope.router;
  }

  get contextId(): number {
    return this.#spec.target.contextId;
  }

  keep(stream: Kept): void {
    (this.#streams ??= []).push(stream);
  }

  /** What is not as it is by default. */
  #options(): RequestOptions | undefined {
    const own = this.window !== DEFAULT_WINDOW;
    const limited = this.#deadline !== Infinity;
    if (!own && !limited) return undefined;
    return { ...(own && { w: checkedWindow(this.window) }), ...(limited && { d: Math.max(0, this.#deadline - this.router.broker.now()) }) };
  }
}

function checkedWindow(size: WindowSize): WindowSize {
  try {
    return windowOf(size);
  } catch {
    throw new UsageError('ERR_TENDRIL_BAD_OPTION', `a window is 1 to 65536 values and 1 to 67108864 bytes, got ${String(size[0])} and ${String(size[1])}`);
  }
}
