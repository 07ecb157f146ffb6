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
    const [chain] = request;
    if (chain === null) this.#run(new Execution(reply, message.srcId, this), request);
    else this.#enchain(new Execution(reply, message.srcId, this), request, `${String(message.srcId)}/${chain}`);
  }

  #run(execution: Execution, [, module, className, name, args]: CallRequest): void {
    // Known before it runs: a function may end the process, and its caller is to be told.
    this.#running.set(execution.key, execution);
    execution.run(this.#tracker, () => this.#resolve({ module, className, name }), args);
  }

  /** Runs a call of a chain behind the one before it, unless the chain has failed. */
  #enchain(execution: Execution, request: CallRequest, chainKey: string): void {
    const before = this.#chains.get(chainKey);
    this.#chains.set(chainKey, execution);
    this.#running.set(execution.key, execution);
    execution.then((error) => {
      if (error) this.#chainFailed(chainKey, error);
      if (this.#chains.get(chainKey) === execution) this.#chains.delete(chainKey);
    });
    const begin = (): void => {
      const failed = this.#failedChains.get(chainKey);
      if (failed) execution.reject(failed);
      else if (!execution.ended) this.#run(execution, request);
    };
    if (before) before.then(begin);
    else begin();
  }

  /** @internal An execution is over. */
  over(execution: Execution): void {
    this.#running.delete(execution.key);
  }

  /** @internal User code has asynchronous work under way; the result ends it. */
  hold(): () => void {
    this.#lingering++;
    return () => {
      if (--this.#lingering === 0) this.#idle?.();
    };
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
  /** Identifies the call in this context: reply handles are unique within the caller only. */
  readonly key: number;
  readonly #scope: MailboxScope;
  readonly #callerId: number;
  readonly #handle: number;

  constructor(scope: MailboxScope, call: Message) {
    this.#scope = scope;
    this.#callerId = call.srcId;
    this.#handle = call.replyTo;
    this.key = callKey(call.srcId, call.replyTo);
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

/** One function that runs. It is the CurrentCall of that function too. */
class Execution implements CurrentCall {
  readonly callerId: number;
  readonly #reply: ReplyPath;
  readonly #dispatcher: Dispatcher;
  /** Only streams need one. */
  #window: CreditWindow<Encoded> | undefined;
  #abort: AbortController | undefined;
  #source: Source | undefined;
  ended = false;
  #error: ErrorContent | undefined;
  #cancelled = false;
  /** The end of a stream whose last values still wait for credit: an error, or null for completion. */
  #closing: ErrorContent | null | undefined;
  #followers: ((error: ErrorContent | undefined) => void)[] | undefined;

  constructor(reply: ReplyPath, callerId: number, dispatcher: Dispatcher) {
    this.#reply = reply;
    this.callerId = callerId;
    this.#dispatcher = dispatcher;
  }

  get key(): number {
    return this.#reply.key;
  }

  /** Made when it is asked for: most functions never ask, and a controller costs more than a small call. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#cancelled) this.#abort.abort();
    return this.#abort.signal;
  }

  run(tracker: CallTracker, resolve: () => ReturnType<ResolveFunction>, args: readonly unknown[]): void {
    const apply = (fn: (...args: unknown[]) => unknown): void => {
      if (!this.ended) this.#take(tracker.run(this, () => fn(...args)));
    };
    this.#attempt(() => {
      const fn = resolve();
      if (typeof fn === 'function') apply(fn);
      else fn.then((found) => { this.#attempt(() => { apply(found); }); }, (error: unknown) => { this.#fail(error); });
    });
  }

  /** Runs `work` when this execution has ended, with its error if it failed. */
  then(work: (error: ErrorContent | undefined) => void): void {
    if (this.ended) work(this.#error);
    else (this.#followers ??= []).push(work);
  }

  cancel(): void {
    if (this.ended || this.#cancelled) return;
    this.#cancelled = true;
    this.#abort?.abort();
    this.#end(['AbortError', 'the call was cancelled', '', 'ABORT_ERR', null]);
  }

  grant(values: number, bytes: number): void {
    if (this.#window === undefined) return;
    this.#window.grant(values, bytes);
    if (this.#window.open) this.#source?.resume?.();
    if (this.#closing !== undefined) this.#close(this.#closing);
  }

  reject(error: ErrorContent): void {
    if (this.ended) return;
    this.#reply.error(error);
    this.#end(error);
  }

  #fail(thrown: unknown): void {
    if (!this.ended) this.#close(errorContent(thrown));
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What a function returned becomes replies. */
  #take(value: unknown): void {
    if (this.ended) return;
    if (typeof value !== 'object' || value === null) this.#result(value);
    else if (typeof (value as PromiseLike<unknown>).then === 'function') {
      const release = this.#dispatcher.hold();
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
    if (this.ended || this.#closing !== undefined) return;
    const encoded = this.#reply.encode(REPLY_NEXT, value);
    let bytes = encoded.data.length;
    for (const part of encoded.tail ?? []) bytes += part.length;
    // The codec's scratch memory is not used again for this message, so it can wait as it is.
    this.#window ??= new CreditWindow((waiting) => {
      this.#reply.send(waiting);
    });
    if (!this.#window.offer(encoded, bytes)) throw new TendrilError('ERR_TENDRIL_OVERFLOW', 'the caller consumes more slowly than the observable emits, and too many values wait; return an async iterable, which is paused, or emit less');
  }

  /** Ends the stream behind its last value. */
  #close(error: ErrorContent | null): void {
    // The first end counts: a source that overflowed may still complete.
    error = this.#closing ??= error;
    if (error) this.#source?.stop();
    if (this.#window !== undefined && this.#window.waiting > 0) return;
    if (error) this.reject(error);
    else {
      this.#reply.complete();
      this.#end(undefined);
    }
  }

  #observe(observable: ObservableLike): void {
    const subscription = observable.subscribe({
      next: (value: unknown) => {
        this.#attempt(() => {
          this.#next(value);
        });
      },
      error: (error: unknown) => {
        this.#fail(error);
      },
      complete: () => {
        if (!this.ended) this.#close(null);
      },
    });
    this.#source = {
      stop: () => {
        subscription.unsubscribe();
      },
    };
    // It may have come to its end before there was a subscription to stop.
    if (this.ended || this.#closing) subscription.unsubscribe();
  }

  #iterate(iterable: AsyncIterable<unknown>): void {
    const iterator = iterable[Symbol.asyncIterator]();
    let pulling = false;
    const pull = (): void => {
      if (pulling || this.ended || this.#window?.open === false) return;
      pulling = true;
      iterator.next().then(
        (step) => {
          pulling = false;
          this.#attempt(() => {
            if (this.ended) return;
            if (step.done === true) this.#close(null);
            else this.#next(step.value);
          });
          pull();
        },
        (error: unknown) => {
          this.#fail(error);
        },
      );
    };
    this.#source = {
      resume: pull,
      stop: () => {
        // A generator's finally blocks run; what they throw after a cancel interests nobody.
        const release = this.#dispatcher.hold();
        (iterator.return?.() ?? Promise.resolve()).then(release, release);
      },
    };
    pull();
  }

  #end(error: ErrorContent | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.#error = error;
    if (error) {
      try {
        this.#source?.stop();
      } catch (thrown) {
        this.#reply.fault(thrown);
      }
    }
    this.#source = undefined;
    this.#dispatcher.over(this);
    for (const follower of this.#followers ?? []) follower(error);
    this.#followers = undefined;
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
