import { EMPTY, defer, forkJoin, ignoreElements, take, timeout } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Broker } from './broker/broker.ts';
import type { Router } from './routing/router.ts';
import { SHUTDOWN } from './wire/handles.ts';

/** How long a main thread may take to answer SHUTDOWN before it counts as hung, in milliseconds. */
export const HUNG_AFTER_MS = 50;
/** How long the asynchronous work of cancelled calls may go on, in milliseconds. */
export const LINGER_MS = 500;
/** How long after SIGTERM a process that swallows it gets SIGKILL, in milliseconds. */
export const KILL_AFTER_MS = 1000;
/** Default time for an orderly end, in milliseconds (Mitogen: 5 s). */
export const DEFAULT_GRACE_MS = 5000;

/**
 * Sends SHUTDOWN to every direct child and completes when all of them have disconnected, or `graceMs` later when some
 * have not; those are disconnected by force. One that is not up yet is not waited for: it may never be.
 */
export function shutdownChildren(router: Router, graceMs: number): Observable<never> {
  return defer(() => {
    const { parent, twin } = router.table;
    // The latest first: those that wait for their turn to be started must not get it.
    const children = [...router.streams].filter((stream) => stream !== parent && stream !== twin).reverse();
    for (const child of children) {
      if (child.opened) router.send({ dstId: child.remoteId, srcId: router.id, handle: SHUTDOWN, replyTo: 0, data: Buffer.alloc(0) });
      else child.disconnect();
    }
    const allClosed = forkJoin(children.map((child) => child.closed)).pipe(take(1));
    const force = defer(() => {
      for (const child of children) child.disconnect();
      return EMPTY;
    });
    return allClosed.pipe(timeout({ first: graceMs, scheduler: router.broker, with: () => force }), ignoreElements());
  });
}

/**
 * The finaliser: SIGTERM to this very process, then SIGKILL if a handler swallows it. Works from any thread, also while
 * the main thread hangs.
 */
export function endProcess(broker: Broker, killAfterMs: number = KILL_AFTER_MS): void {
  broker.after(killAfterMs, () => {
    process.kill(process.pid, 'SIGKILL');
  });
  process.kill(process.pid, 'SIGTERM');
}
