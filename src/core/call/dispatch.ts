import { DecodeError, TendrilError } from '../errors.ts';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import { hasParentAuthority } from '../mailbox/policy.ts';
import { CallError, errorContent } from '../wire/call-error.ts';
import type { ErrorContent } from '../wire/call-error.ts';
import { IS_DEAD } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION } from '../wire/handles.ts';
import { decodeValue, encodeEnvelope } from '../wire/values.ts';
import type { Encoded } from '../wire/values.ts';
import type { CallTracker, CurrentCall } from './current-call.ts';
import { CreditWindow } from './credit.ts';
import { CONTROL_CANCEL, CONTROL_CREDIT, REPLY_COMPLETE, REPLY_ERROR, REPLY_NEXT, REPLY_RESULT } from './protocol.ts';
import type { CallRequest, FunctionRef } from './protocol.ts';

/** Finds the function of a call; may have to wait for its module. Throws when there is no such function. */
export type ResolveFunction = (ref: FunctionRef) => ((...args: unknown[]) => unknown) | PromiseLike<(...args: unknown[]) => unknown>;

/** How many failed chains are remembered; the oldest are forgotten. */
const MAX_FAILED_CHAINS = 1024;

/** Runs the functions that parents ask for. Calls run concurrently; those of one chain one after another. */
export class Dispatcher {
  readonly #scope: MailboxScope;
  readonly #resolve: ResolveFunction;
  readonly #tracker: CallTracker;
  readonly #running = new Map<number, Execution>();
  /** The last call of each chain that is under way. */
  readonly #chains = new Map<string, Execution>();
  readonly #failedChains = new Map<string, ErrorContent>();
  /** Promises of user code that have not settled, also of cancelled calls. */
  #lingering = 0;
  #idle: (() => void) | undefined;

  constructor(scope: MailboxScope, resolve: ResolveFunction, tracker: CallTracker) {
    this.#scope = scope;
    this.#resolve = resolve;
    this.#tracker = tracker;
    scope.router.addHandler(CALL_FUNCTION, { policy: hasParentAuthority, deliver: (message) => { this.#onCall(message); } });
    scope.router.addHandler(CALL_CONTROL, { policy: hasParentAuthority, deliver: (message) => { this.#onControl(message); } });
  }

  /** Calls under way. */
  get size(): number {
    return this.#running.size;
  }

  /** Answers every call under way with `error` and stops it. */
  failAll(error: ErrorContent): void {
    for (const execution of [...this.#running.values()]) {
      execution.reject(error);
      execution.cancel();
    }
  }

  /**
   * Stops every call under way: signals fire, observables are unsubscribed. `done` runs when the asynchronous work of
   * all of them (such as `finally` blocks) has ended too; it may never do so.
   */
  cancelAll(done: () => void): void {
    for (const execution of [...this.#running.values()]) execution.cancel();
    if (this.#lingering === 0) done();
    else this.#idle = done;
  }

  readonly #hold = (): (() => void) => {
    this.#lingering++;
    return () => {
      if (--this.#lingering === 0) this.#idle?.();
    };
  };

  #onCall(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const reply = new ReplyPath(this.#scope, message);
    let request: CallRequest;
    try {
      request = checkRequest(decodeValue(message.data, message.tail, this.#scope.reviver));
    } catch (error) {
      reply.error(errorContent(error));
      return;
    }
    const [chain, module, className, name, args] = request;
    const key = callKey(message.srcId, message.replyTo);
    const chainKey = chain === null ? null : `${String(message.srcId)}/${chain}`;
    const execution = new Execution(reply, message.srcId, (error) => {
      this.#running.delete(key);
      if (chainKey !== null) {
        if (error) this.#chainFailed(chainKey, error);
        if (this.#chains.get(chainKey) === execution) this.#chains.delete(chainKey);
      }
    }, this.#hold);
    if (message.replyTo !== 0) this.#running.set(key, execution);
    const begin = (): void => {
      const failed = chainKey === null ? undefined : this.#failedChains.get(chainKey);
      if (failed) {
        execution.reject(failed);
        return;
      }
      execution.run(this.#tracker, () => this.#resolve({ module, className, name }), args);
    };
    const before = chainKey === null ? undefined : this.#chains.get(chainKey);
    if (chainKey !== null) this.#chains.set(chainKey, execution);
    if (before) before.then(begin);
    else begin();
  }

  #chainFailed(chainKey: string, error: ErrorContent): void {
    if (this.#failedChains.has(chainKey)) return;
    if (this.#failedChains.size >= MAX_FAILED_CHAINS) {
      const [oldest] = this.#failedChains.keys();
      if (oldest !== undefined) this.#failedChains.delete(oldest);
    }
    this.#failedChains.set(chainKey, error);
  }

  #onControl(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const control = decodeValue(message.data, message.tail);
    if (!Array.isArray(control)) return;
    const [call, kind, values, bytes] = control as unknown[];
    if (typeof call !== 'number') return;
    const execution = this.#running.get(callKey(message.srcId, call));
    if (kind === CONTROL_CANCEL) execution?.cancel();
    else if (kind === CONTROL_CREDIT && typeof values === 'number' && typeof bytes === 'number') execution?.grant(values, bytes);
  }
}

/** Reply handles are unique within their context only. */
function callKey(srcId: number, replyTo: number): number {
  return srcId * 2 ** 32 + replyTo;
}

function checkRequest(value: unknown): CallRequest {
  if (!Array.isArray(value) || value.length !== 5) throw new DecodeError('a call is not a list of five');
  const [chain, module, className, name, args] = value as unknown[];
  const valid = (chain === null || typeof chain === 'string') && typeof module === 'string' && (className === null || typeof className === 'string') && typeof name === 'string' && Array.isArray(args);
  if (!valid) throw new DecodeError('a call has a field of the wrong type');
  return value as unknown as CallRequest;
}

/** Sends the replies to one call. */
class ReplyPath {
  readonly #scope: MailboxScope;
  readonly #callerId: number;
  readonly #handle: number;

  constructor(scope: MailboxScope, call: Message) {
    this.#scope = scope;
    this.#callerId = call.srcId;
    this.#handle = call.replyTo;
  }

  /** Encodes `[kind, value]`; throws an EncodeError whose path begins with `result`. */
  encode(kind: number, value: unknown): Encoded {
    return encodeEnvelope([kind, value], 1, 'result');
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

interface Source {
  stop(): void;
  resume?(): void;
}

/** One function that runs. */
class Execution {
  readonly #reply: ReplyPath;
  readonly #callerId: number;
  readonly #onEnd: (error: ErrorContent | undefined) => void;
  readonly #hold: () => () => void;
  readonly #window: CreditWindow<Encoded>;
  #abort: AbortController | undefined;
  #source: Source | undefined;
  #ended = false;
  #cancelled = false;
  /** The end of a stream whose last values still wait for credit: an error, or null for completion. */
  #closing: ErrorContent | null | undefined;
  #followers: (() => void)[] = [];

  constructor(reply: ReplyPath, callerId: number, onEnd: (error: ErrorContent | undefined) => void, hold: () => () => void) {
    this.#reply = reply;
    this.#callerId = callerId;
    this.#onEnd = onEnd;
    this.#hold = hold;
    this.#window = new CreditWindow((encoded) => {
      reply.send(encoded);
    });
  }

  run(tracker: CallTracker, resolve: () => ReturnType<ResolveFunction>, args: readonly unknown[]): void {
    const call = this.#currentCall();
    const apply = (fn: (...args: unknown[]) => unknown): void => {
      if (this.#ended) return;
      this.#attempt(() => {
        this.#take(tracker.run(call, () => fn(...args)));
      });
    };
    this.#attempt(() => {
      const fn = resolve();
      if (typeof fn === 'function') apply(fn);
      else fn.then(apply, this.#fail);
    });
  }

  /** Runs `work` when this execution has ended. */
  then(work: () => void): void {
    if (this.#ended) work();
    else this.#followers.push(work);
  }

  cancel(): void {
    if (this.#ended || this.#cancelled) return;
    this.#cancelled = true;
    const error: ErrorContent = ['AbortError', 'the call was cancelled', '', 'ABORT_ERR', null];
    this.#abort?.abort();
    this.#end(error);
  }

  grant(values: number, bytes: number): void {
    this.#window.grant(values, bytes);
    if (this.#window.open) this.#source?.resume?.();
    if (this.#closing !== undefined) this.#close(this.#closing);
  }

  reject(error: ErrorContent): void {
    if (this.#ended) return;
    this.#reply.error(error);
    this.#end(error);
  }

  readonly #fail = (thrown: unknown): void => {
    if (!this.#ended) this.#close(errorContent(thrown));
  };

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  #currentCall(): CurrentCall {
    const signal = (): AbortSignal => {
      this.#abort ??= new AbortController();
      if (this.#cancelled) this.#abort.abort();
      return this.#abort.signal;
    };
    return {
      // Made when it is asked for: most functions never ask, and a controller costs more than a small call.
      get signal() {
        return signal();
      },
      callerId: this.#callerId,
    };
  }

  /** What a function returned becomes replies. */
  #take(value: unknown): void {
    if (this.#ended) return;
    if (typeof value !== 'object' || value === null) this.#result(value);
    else if (typeof (value as PromiseLike<unknown>).then === 'function') {
      const release = this.#hold();
      (value as PromiseLike<unknown>).then(
        (settled) => {
          release();
          this.#attempt(() => {
            this.#take(settled);
          });
        },
        (error: unknown) => {
          release();
          this.#fail(error);
        },
      );
    } else if (isObservable(value)) this.#observe(value);
    else if (Symbol.asyncIterator in value) this.#iterate(value as AsyncIterable<unknown>);
    else this.#result(value);
  }

  #result(value: unknown): void {
    this.#reply.send(this.#reply.encode(REPLY_RESULT, value));
    this.#end(undefined);
  }

  #next(value: unknown): void {
    if (this.#ended || this.#closing !== undefined) return;
    const encoded = this.#reply.encode(REPLY_NEXT, value);
    let bytes = encoded.data.length;
    for (const part of encoded.tail ?? []) bytes += part.length;
    // The codec's scratch memory is not used again for this message, so it can wait as it is.
    if (!this.#window.offer(encoded, bytes)) throw new TendrilError('ERR_TENDRIL_OVERFLOW', 'the caller consumes more slowly than the observable emits, and too many values wait; return an async iterable, which is paused, or emit less');
  }

  /** Ends the stream behind its last value. */
  #close(error: ErrorContent | null): void {
    this.#closing = error;
    if (this.#window.waiting > 0) return;
    if (error) this.reject(error);
    else {
      this.#reply.complete();
      this.#end(undefined);
    }
  }

  #observe(observable: ObservableLike): void {
    let stopEarly = false;
    const subscription = observable.subscribe({
      next: (value: unknown) => {
        this.#attempt(() => {
          this.#next(value);
        });
      },
      error: this.#fail,
      complete: () => {
        if (!this.#ended) this.#close(null);
      },
    });
    this.#source = {
      stop: () => {
        stopEarly = true;
        subscription.unsubscribe();
      },
    };
    if (this.#ended && !stopEarly) subscription.unsubscribe();
  }

  #iterate(iterable: AsyncIterable<unknown>): void {
    const iterator = iterable[Symbol.asyncIterator]();
    let pulling = false;
    const pull = (): void => {
      if (pulling || this.#ended || !this.#window.open) return;
      pulling = true;
      iterator.next().then(
        (step) => {
          pulling = false;
          this.#attempt(() => {
            if (this.#ended) return;
            if (step.done === true) this.#close(null);
            else this.#next(step.value);
          });
          pull();
        },
        this.#fail,
      );
    };
    this.#source = {
      resume: pull,
      stop: () => {
        // A generator's finally blocks run; what they throw after a cancel interests nobody.
        const release = this.#hold();
        (iterator.return?.() ?? Promise.resolve()).then(release, release);
      },
    };
    pull();
  }

  #end(error: ErrorContent | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    if (error) {
      try {
        this.#source?.stop();
      } catch (thrown) {
        this.#reply.fault(thrown);
      }
    }
    this.#source = undefined;
    this.#onEnd(error);
    const followers = this.#followers;
    this.#followers = [];
    for (const follower of followers) follower();
  }
}

interface ObservableLike {
  subscribe(observer: { next(value: unknown): void; error(error: unknown): void; complete(): void }): { unsubscribe(): void };
}

/** An Observable of this or any other copy of RxJS. */
function isObservable(value: object): value is ObservableLike {
  const candidate = value as { subscribe?: unknown; pipe?: unknown };
  return typeof candidate.subscribe === 'function' && (typeof candidate.pipe === 'function' || Symbol.for('observable') in value || '@@observable' in value);
}
