import type { Subscription } from 'rxjs';
import type { Broker } from '../broker/broker.ts';
import type { Keepalive } from '../config.ts';

/**
 * Calls `lost` when nothing has come from the parent for too long. It is counted in ticks, not in time: a process that was
 * stopped for a while sees one tick, and what has come meanwhile before the next.
 *
 * @param heard - a count that changes with all that comes
 */
export function watchParent(broker: Broker, keepalive: Keepalive | false, heard: () => number, lost: () => void): Subscription | undefined {
  if (!keepalive) return undefined;
  let last = heard();
  let missing = 0;
  return broker.schedule(function () {
    const now = heard();
    missing = now === last ? missing + 1 : 0;
    last = now;
    if (missing > keepalive.countMax) lost();
    else this.schedule(undefined, keepalive.intervalMs);
  }, keepalive.intervalMs);
}
