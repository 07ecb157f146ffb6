import { Listeners } from '../attach/listeners.ts';
import { Detacher } from '../detach/detacher.ts';
import { keepPart } from './part-host.ts';
import type { ParentHost } from './part-host.ts';

/** The part `attach`, in the broker thread of a context that goes on without parents, or that other processes join. It comes behind the part `parent`. */
export function start(host: ParentHost, packed: Uint8Array): void {
  if (!keepPart(host, 'attach', packed)) return;
  const { router, routing, forwarder, parenthood } = host;
  if (routing === undefined || forwarder === undefined || parenthood === undefined) throw new Error('the part attach came ahead of the part parent');
  new Detacher({ router, routing, forwarder, parenthood });
  new Listeners(host, routing);
}
