import type { FunctionRef } from '../core/call/protocol.ts';
import type { RemoteStream } from '../core/call/remote-stream.ts';
import { CALL_SERVICE } from '../core/wire/handles.ts';
import { serviceName } from '../importer/ids.ts';
import { membersOf } from '../parent/calls/remote-module.ts';
import type { ServiceRef } from './pool.ts';

/**
 * A service in another context: every member makes calls.
 *
 * @param above - whether the service may be started by the call: it is a call of a function then, which contexts above
 *   may make, and which brings the module
 */
export function serviceClient({ module, className }: ServiceRef, call: (ref: FunctionRef, args: readonly unknown[]) => RemoteStream<unknown>, above: boolean): object {
  const name = `RemoteService(${module === '' ? '' : `${module}#`}${className ?? ''})`;
  return membersOf({ [Symbol.for('nodejs.util.inspect.custom')]: () => name }, (method) => {
    const ref: FunctionRef = { module: serviceName(module), className, name: method, ...(!above && { handle: CALL_SERVICE }) };
    return (...args: unknown[]) => call(ref, args);
  });
}
