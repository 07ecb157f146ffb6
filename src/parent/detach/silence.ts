import { closeSync, fstatSync, openSync } from 'node:fs';
import type { Broker } from '../../core/broker/broker.ts';

/** The descriptors of the protocol, which the library closes. */
const PROTOCOL = [3, 4] as const;
/** How often it is looked whether they are closed: the other thread may be in the middle of a write. */
const LOOKS = 100;

/**
 * Puts `/dev/null` in the place of all that came from the old parent: stdin, stdout and stderr, and the descriptors of the
 * protocol once they are closed, so that no file of the user's ever gets their numbers. A number that was just closed is
 * the first to be used again.
 */
export function silence(broker: Broker): void {
  for (const [fd, flags] of [[0, 'r'], [1, 'w'], [2, 'w']] as const) {
    try {
      closeSync(fd);
    } catch {
      // It was closed from the start.
    }
    openSync('/dev/null', flags);
  }
  occupy(broker, LOOKS);
}

function occupy(broker: Broker, looks: number): void {
  if (PROTOCOL.some(isOpen)) {
    if (looks > 0) broker.after(1, () => { occupy(broker, looks - 1); });
    return;
  }
  for (const fd of PROTOCOL) {
    const got = openSync('/dev/null', 'r');
    if (got !== fd) closeSync(got);
  }
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}
