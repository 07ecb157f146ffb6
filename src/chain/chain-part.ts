import type { CurrentCall } from '../core/call/current-call.ts';
import type { FunctionRef } from '../core/call/protocol.ts';
import type { ChainHost, ChainPart } from '../importer/chains.ts';

type Run = (...args: unknown[]) => unknown;

/** The last two arguments of a call: under which key its result is kept, and which arguments are results by which keys. */
type Kept = [keep: number | null, takes: readonly (readonly [index: number, key: number])[]];

/**
 * Keeps results of calls in this context, for later calls of the same chain that take them as arguments: those need not
 * wait for an answer, and the results need not cross the wire. They are let go when the caller says so.
 */
export function start({ resolve, tracker, error }: ChainHost): ChainPart {
  const results = new Map<string, unknown>();

  const call = (ref: FunctionRef, given: unknown[]): unknown => {
    const execution = tracker.current() as CurrentCall & { readonly ended: boolean };
    const { callerId } = execution;
    const [keep, takes] = given.splice(-2) as Kept;
    for (const [index, key] of takes) {
      const name = nameOf(callerId, key);
      if (!results.has(name)) throw error('ERR_TENDRIL_CHAIN', 'the result that was to be an argument is not here; was the call that gave it cancelled?');
      given[index] = results.get(name);
    }
    const hold = (value: unknown): void => {
      // One that was cancelled meanwhile has nobody who would let go of it.
      if (keep !== null && !execution.ended) results.set(nameOf(callerId, keep), value);
    };
    const run = (fn: Run): unknown => {
      const value = fn(...given);
      if (keep === null) return value;
      if (isThenable(value)) return value.then(hold);
      hold(value);
      return undefined;
    };
    const fn = resolve(ref);
    return typeof fn === 'function' ? run(fn) : fn.then(run);
  };

  const release = (keys: readonly number[]): void => {
    const { callerId } = tracker.current();
    for (const key of keys) results.delete(nameOf(callerId, key));
  };

  return (module) =>
    members((first) => {
      if (module === '') return release;
      const plain: Run = (...given) => call({ module, className: null, name: first }, given);
      // It may be a class, whose static methods are called.
      return new Proxy(plain, { get: (target, name) => (typeof name === 'symbol' || name === 'bind' ? (Reflect.get(target, name) as unknown) : (...given: unknown[]) => call({ module, className: first, name }, given)) });
    });
}

/** Keys are unique within their caller only. */
function nameOf(callerId: number, key: number): string {
  return `${String(callerId)}/${String(key)}`;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/** An object that has a member of every name. */
function members(make: (name: string) => unknown): object {
  return new Proxy({}, { has: () => true, get: (_target, name) => (typeof name === 'string' ? make(name) : undefined) });
}
