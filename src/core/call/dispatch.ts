import { DecodeError } from '../errors.ts';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import { anyContext, hasParentAuthority } from '../mailbox/policy.ts';
import type { Policy } from '../mailbox/policy.ts';
import { errorContent } from '../wire/call-error.ts';
import type { ErrorContent } from '../wire/call-error.ts';
import { IS_DEAD, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION } from '../wire/handles.ts';
import { decodeValue } from '../wire/values.ts';
import { windowOf } from './credit.ts';
import type { CallTracker } from './current-call.ts';
import { Execution } from './execution.ts';
import type { ExecutionOwner, ResolveFunction } from './execution.ts';
import { CONTROL_CANCEL, CONTROL_CREDIT, callKey } from './protocol.ts';
import type { CallRequest, RequestOptions } from './protocol.ts';
import { ReplyPath } from './reply-path.ts';

/** How many failed chains are remembered; the oldest are forgotten. */
const MAX_FAILED_CHAINS = 1024;

/** Runs what others ask for. Calls run concurrently; those of one chain one after another. */
export class Dispatcher implements ExecutionOwner {
  readonly #scope: MailboxScope;
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
    this.#tracker = tracker;
    this.answer(CALL_FUNCTION, hasParentAuthority, resolve);
    // It names a call of its sender's.
    scope.router.addHandler(CALL_CONTROL, { policy: anyContext, deliver: (message) => { this.#onControl(message); } });
  }

  /** Runs the calls that come on a handle. Those on CALL_FUNCTION can be in chains. */
  answer(handle: number, policy: Policy, resolve: ResolveFunction): void {
    this.#scope.router.addHandler(handle, { policy, deliver: (message) => { this.#onCall(message, resolve); } });
  }

  /** Whether user code is under way, or its asynchronous work. */
  get occupied(): boolean {
    return this.#running.size > 0 || this.#lingering > 0;
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

  #onCall(message: Message, resolve: ResolveFunction): void {
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
    const execution = new Execution(reply, message.srcId, this, request[5]?.w);
    const left = request[5]?.d;
    if (left !== undefined) execution.expire(this.#scope.router.broker, left);
    const run = (): void => {
      // Known before it runs: a function may end the process, and its caller is to be told.
      this.#running.set(execution.key, execution);
      execution.run(this.#tracker, () => resolve({ module, className, name }, execution, payloadLength(message)), args);
    };
    if (chain === null || message.handle !== CALL_FUNCTION) run();
    else this.#enchain(execution, run, `${String(message.srcId)}/${chain}`);
  }

  /** Runs a call of a chain behind the one before it, unless the chain has failed. */
  #enchain(execution: Execution, run: () => void, chainKey: string): void {
    // One that was reset is in order behind what it was before.
    const [order = ''] = chainKey.split('\0');
    const before = this.#chains.get(order);
    this.#chains.set(order, execution);
    this.#running.set(execution.key, execution);
    execution.then((error) => {
      if (error) this.#chainFailed(chainKey, error);
      if (this.#chains.get(order) === execution) this.#chains.delete(order);
    });
    const begin = (): void => {
      const failed = this.#failedChains.get(chainKey);
      if (failed) execution.reject(failed);
      else if (!execution.ended) run();
    };
    if (before) before.then(begin);
    else begin();
  }

  /** @internal */
  over(execution: Execution): void {
    this.#running.delete(execution.key);
  }

  /** @internal */
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
    else if (kind === CONTROL_CREDIT) execution?.grant(values, bytes);
  }
}

function checkRequest(value: unknown): CallRequest {
  if (!Array.isArray(value) || value.length < 5 || value.length > 6) throw new DecodeError('a call is not a list of five or six');
  const [chain, module, className, name, args, options] = value as unknown[];
  const valid = (chain === null || typeof chain === 'string') && typeof module === 'string' && (className === null || typeof className === 'string') && typeof name === 'string' && Array.isArray(args);
  if (!valid) throw new DecodeError('a call has a field of the wrong type');
  const { w, d = 0 } = (options ?? {}) as RequestOptions;
  if (w !== undefined) windowOf(w);
  if (typeof d !== 'number' || !(d >= 0)) throw new DecodeError('a deadline is not valid');
  return value as unknown as CallRequest;
}
