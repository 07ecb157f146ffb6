import type { Keepalive } from '../../core/config.ts';
import { TendrilError, UsageError } from '../../core/errors.ts';
import type { Router } from '../../core/routing/router.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { PING } from '../../core/wire/handles.ts';
import { checkNames } from '../option-names.ts';
import type { MeteredLink } from './metered-link.ts';

/** As Mitogen's: five minutes. Why not less is told in docs/decisions.md, D-061. */
export const DEFAULT_KEEPALIVE: Keepalive = { intervalMs: 30_000, countMax: 10 };

/** Bytes of a sign of life, and no traffic beside it. */
const ANSWER_BYTES = 64;

/** Bytes a millisecond that a link is expected to carry at least. A question waits behind what is being sent. */
const SLOWEST_LINK = 64;

/** Checks the option. */
export function checkKeepalive(keepalive: Keepalive | false | undefined): void {
  if (keepalive === undefined || keepalive === false) return;
  checkNames('keepalive', keepalive, ['intervalMs', 'countMax'] satisfies (keyof Keepalive)[]);
  const { intervalMs, countMax } = keepalive as Partial<Keepalive>;
  const valid = intervalMs !== undefined && intervalMs >= 10 && intervalMs <= 86_400_000 && Number.isInteger(countMax) && countMax !== undefined && countMax >= 1;
  if (!valid) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option keepalive must be false, or { intervalMs, countMax } with 10 to 86400000 milliseconds and a whole number from 1, got ${JSON.stringify(keepalive)}`);
}

/**
 * Asks a child for a sign of life when an interval has passed without traffic in both directions, and disconnects it when
 * it does not answer. Intervals are counted, not time: a process that was stopped for a while sees one of them end, and
 * then what has come meanwhile.
 */
export function keepAlive(router: Router, stream: Stream, link: MeteredLink, { intervalMs, countMax }: Keepalive): void {
  let { received, sent, pendingBytes } = link;
  let missing = 0;
  let asked = false;
  const ticks = router.broker.schedule(function () {
    const bytes = link.received - received;
    const quiet = bytes <= (asked ? ANSWER_BYTES : 0) || link.sent === sent;
    // What the operating system takes, it takes because the other side does.
    missing = bytes > 0 || link.pendingBytes < pendingBytes ? 0 : missing + 1;
    ({ received, pendingBytes } = link);
    if (missing > countMax + Math.floor(pendingBytes / (SLOWEST_LINK * intervalMs))) {
      stream.disconnect(new TendrilError('ERR_TENDRIL_SILENT', `context ${String(stream.remoteId)} has given no sign of life for ${String(missing * intervalMs)} ms; it hangs as a whole, or the network lost it`));
      return;
    }
    asked = quiet;
    if (quiet) router.send({ dstId: stream.remoteId, srcId: router.id, handle: PING, replyTo: PING, data: Buffer.alloc(0) });
    ({ sent } = link);
    this.schedule(undefined, intervalMs);
  }, intervalMs);
  stream.closed.subscribe(() => {
    ticks.unsubscribe();
  });
}
