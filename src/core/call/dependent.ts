import { UsageError } from '../errors.ts';
import type { MailboxScope } from '../mailbox/mailbox.ts';
import { CALL_FUNCTION } from '../wire/handles.ts';
import { encodeValue } from '../wire/values.ts';
import type { CallSpec } from './invoke.ts';
import type { CallRequest } from './protocol.ts';
import type { RemoteStream } from './remote-stream.ts';

/** Calls of chains that were made, by what stands for their results. */
const calls = new WeakMap<object, CallSpec>();

/** Notes a call: others of its chain may take its result as an argument. */
export function noteCall(result: RemoteStream<unknown>, spec: CallSpec): void {
  if (spec.chain !== null) calls.set(result, spec);
}

/** A call that takes the results of others of its chain, and these, in the order in which they are to be made. */
export interface Dependent {
  readonly first: readonly CallSpec[];
  readonly last: CallSpec;
  /** Under which their results are kept at the callee. */
  readonly keys: readonly number[];
}

/** What must be called for the arguments of a call; undefined when they are there already. */
export function dependentCalls(scope: MailboxScope, spec: CallSpec): Dependent | undefined {
  const keys = new Map<unknown, number>();
  const first: CallSpec[] = [];
  const visit = ({ args, chain, target }: CallSpec): void => {
    for (const arg of args) {
      if (keys.has(arg) || typeof arg !== 'object' || arg === null) continue;
      const needed = calls.get(arg);
      if (needed === undefined) continue;
      if (needed.chain !== chain || needed.target !== target) throw new UsageError('ERR_TENDRIL_CHAIN', 'a call whose result is to be an argument must be of the same chain; make both with the same context.chain(), without a reset() in between');
      visit(needed);
      const key = scope.router.allocateHandle();
      keys.set(arg, key);
      first.push(chained(needed, key, keys));
    }
  };
  visit(spec);
  return first.length === 0 ? undefined : { first, last: chained(spec, null, keys), keys: [...keys.values()] };
}

function chained(spec: CallSpec, keep: number | null, keys: ReadonlyMap<unknown, number>): CallSpec {
  const takes = spec.args.flatMap((arg, index) => {
    const key = keys.get(arg);
    return key === undefined ? [] : [[index, key]];
  });
  const ref: CallSpec['ref'] = () => {
    const { module, ...rest } = spec.ref();
    return { ...rest, module: `chain:${module}` };
  };
  // Behind the arguments, whose places are told in errors.
  return { ...spec, ref, args: [...spec.args.map((arg) => (keys.has(arg) ? null : arg)), keep, takes] };
}

/** Lets go of results that are kept at the callee. Nobody waits for that. */
export function release({ router }: MailboxScope, { target }: CallSpec, keys: readonly number[]): void {
  if (!target.ready) return;
  const { data } = encodeValue([null, 'chain:', null, 'release', [keys]] satisfies CallRequest);
  router.send({ dstId: target.contextId, srcId: router.id, handle: CALL_FUNCTION, replyTo: 0, data });
}
