import type { CurrentCall } from './core/call/current-call.ts';
import type { Context } from './core/context.ts';
import { UsageError } from './core/errors.ts';
import type { Router } from './core/routing/router.ts';
import type { ServeOptions } from './master/services.ts';
import type { Serving } from './service/pool.ts';
import type { Listening } from './parent/attach/listening.ts';
import type { ConnectionMethods } from './parent/connection-methods.ts';
import type { ParentRouter } from './parent/routing/parent-router.ts';
import type { LogForwarder } from './core/log/forwarder.ts';
import { servedCalls } from './service/served-calls.ts';

// In a child `tendril` is the running core (src/core/child/library.ts), where these are real. In the master a module
// that its children use is loaded too, so the names must be there; using them is a mistake that deserves a clear word.

function onlyInChild(name: string): never {
  throw new UsageError('ERR_TENDRIL_NOT_A_CHILD', `${name} was used in the master; it has a meaning only in functions that context.call() runs in a child`);
}

function childOnly(name: string): never {
  return new Proxy({}, {
    get: (_target, property) => (typeof property === 'symbol' ? undefined : onlyInChild(name)),
  }) as never;
}

/** The call that runs: its AbortSignal and its caller. In functions that run in a child, and in methods of services everywhere. */
export function currentCall(): CurrentCall {
  return servedCalls.enabled ? servedCalls.current() : onlyInChild('currentCall()');
}

/** This child as a context. In functions that run in a child. */
export const self: Context = childOnly('self');

/** The parent of this child. In functions that run in a child. */
export const parent: Context = childOnly('parent');

/** The logger of this child; its records go to the master's log. In functions that run in a child. */
export const log: Pick<LogForwarder, 'error' | 'warn' | 'info' | 'debug' | 'record'> = childOnly('log');

/**
 * Lets this child go on without its parents, with all contexts below it (Mitogen's `econtext.detach()`): what was sent
 * before arrives, the connection is closed, fds 0 to 2 lead to `/dev/null`, and nobody above has a say here any more. Calls
 * under way go on, but their results reach nobody. In functions that run in a child.
 *
 * Have it listen before (`router.listen()`), or nobody can reach it again. Resolves when it has left; at once when it had
 * before. Rejects with ERR_TENDRIL_DETACH when it is being shut down.
 */
export function detach(): Promise<void> {
  return onlyInChild('detach()');
}

/** What the router of a child has, and a master. */
interface Serves {
  /**
   * Serves other contexts, as `Master.serve()` does: an instance of a class with a static member `methods`, or such a class.
   * Services that a context above calls are started by that.
   */
  serve(service: object, options?: ServeOptions): Serving;
}

/**
 * The router of this child, with a method for every way to start a context, as a master has them, and `contexts`: those
 * behind this child, whoever has made them. In functions that run in a child.
 */
export const router: Router & Serves & Pick<ParentRouter, 'contexts'> & { [Method in keyof ConnectionMethods]: ConnectionMethods[Method] } & Listening = childOnly('router');
