import { CallTracker } from '../core/call/current-call.ts';

/** Calls of the services that this process serves itself; a child's are the core's. */
export const servedCalls: CallTracker = new CallTracker();

let serving = false;

/** Something is served: from now on calls are followed. */
export function followServedCalls(): void {
  serving = true;
  servedCalls.enable();
}

/** Whether anything has been served in this process. */
export function followsServedCalls(): boolean {
  return serving;
}
