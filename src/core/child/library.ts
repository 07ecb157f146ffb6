import type { CallTracker, CurrentCall } from '../call/current-call.ts';
import { UsageError } from '../errors.ts';
import { ChannelError, DecodeError, EncodeError, FrameTooLargeError, ShutdownError, TendrilError } from '../errors.ts';
import { Context, createReviver } from '../context.ts';
import type { ContextScope } from '../context.ts';
import type { LogForwarder } from '../log/forwarder.ts';
import { Mailbox } from '../mailbox/mailbox.ts';
import { anyContext, hasParentAuthority, isImmediateChild } from '../mailbox/policy.ts';
import { Sender } from '../mailbox/sender.ts';
import type { Router } from '../routing/router.ts';
import { Blob } from '../wire/blob.ts';
import { CallError } from '../wire/call-error.ts';
import { Secret } from '../wire/secret.ts';

/** The contexts of a child process. */
export interface ChildContexts {
  readonly scope: ContextScope;
  readonly self: Context;
  readonly parent: Context;
}

function noCalls(): never {
  throw new UsageError('ERR_TENDRIL_CHILD_CALL', 'calls are not available in a child yet; send a message to a handle, or let the master call');
}

/** Makes the contexts of a child: itself, its parent, and those that arrive in messages. */
export function childContexts(router: Router, name: string): ChildContexts {
  const known = new Map<number, Context>();
  const scope: ContextScope = {
    router,
    reviver: createReviver(router, (id, itsName) => known.get(id) ?? new Context(scope, id, itsName)),
    find: noCalls,
    open: noCalls,
    invoke: noCalls,
  };
  const self = new Context(scope, router.id, name);
  const parent = new Context(scope, router.parentIds[0] ?? 0, 'parent');
  known.set(self.id, self).set(parent.id, parent);
  return { scope, self, parent };
}

/** A module that makes a master is a main script, whose main part must not run in its children. */
function notInAChild(): never {
  throw new UsageError('ERR_TENDRIL_MAIN_SCRIPT', 'new Master() was reached in a child: the function that was called is in your main script. Put the functions that run in children into a module of their own, and import them from there');
}

/** What `import ... from 'tendril'` is in a child: the running core, never a second copy. */
export function childLibrary(contexts: ChildContexts, log: LogForwarder, tracker: CallTracker): Record<string, unknown> {
  // Whoever loads the library may ask for the current call.
  tracker.enable();
  const currentCall = (): CurrentCall => tracker.current();
  return {
    __esModule: true,
    self: contexts.self,
    parent: contexts.parent,
    router: contexts.scope.router,
    log,
    currentCall,
    anyContext,
    hasParentAuthority,
    isImmediateChild,
    Blob,
    CallError,
    ChannelError,
    Context,
    DecodeError,
    EncodeError,
    FrameTooLargeError,
    Mailbox,
    Master: notInAChild,
    Secret,
    Sender,
    ShutdownError,
    TendrilError,
    UsageError,
  };
}
