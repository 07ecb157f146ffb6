import type { Message } from '../wire/frame.ts';

/** What a policy may look at beside the message. */
export interface PolicyScope {
  readonly id: number;
  readonly parentIds: readonly number[];
  /** Context at the other end of the stream that the message came in on; undefined when it was made here. */
  readonly immediateId: number | undefined;
}

/** Whether a mailbox admits a message. Its source is verified already. */
export type Policy = (message: Message, scope: PolicyScope) => boolean;

/** Admits this context and the chain of its parents. The default of every mailbox. */
export const hasParentAuthority: Policy = (message, scope) => message.srcId === scope.id || scope.parentIds.includes(message.srcId);

/** Admits the context at the other end of the stream that the message came in on, and nothing behind it. */
export const isImmediateChild: Policy = (message, scope) => message.srcId === scope.immediateId;

/** Admits every context that can route a message here. */
export const anyContext: Policy = () => true;
