import type { PartHost } from '../../core/child/part-host.ts';
import type { Method } from '../connection/methods.ts';
import type { ModuleForwarder } from '../modules/module-forwarder.ts';
import type { ChildRouting } from '../routing/child-routing.ts';
import type { Parenthood } from './parenthood.ts';
import type { PartName } from './part-ledger.ts';

/** What the parts put into their host: each as it came, and the connection methods. */
export interface ParentHost extends PartHost {
  packed?: Map<PartName, Uint8Array>;
  methods?: Map<string, Method>;
  routing?: ChildRouting;
  forwarder?: ModuleForwarder;
  parenthood?: Parenthood;
}

/** The packed part, for children that need it too. False when it is here already. */
export function keepPart(host: ParentHost, name: PartName, packed: Uint8Array): boolean {
  host.packed ??= new Map<PartName, Uint8Array>();
  if (host.packed.has(name)) return false;
  host.packed.set(name, packed);
  return true;
}
