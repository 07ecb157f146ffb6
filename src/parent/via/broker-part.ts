import { LogForwarder } from '../../core/log/forwarder.ts';
import { METHODS } from '../connection/methods.ts';
import type { Method } from '../connection/methods.ts';
import { ModuleForwarder } from '../modules/module-forwarder.ts';
import { profileOf } from '../modules/profile.ts';
import { ChildRouting } from '../routing/child-routing.ts';
import { unidirectional } from '../routing/edge-policy.ts';
import { Connector } from './connector.ts';
import { Parenthood } from './parenthood.ts';
import { PartLedger } from './part-ledger.ts';
import { keepPart } from './part-host.ts';
import type { ParentHost } from './part-host.ts';

/** The part `parent`, in the broker thread of a context that gets children: connects them, and serves them modules. */
export function start(host: ParentHost, packed: Uint8Array): void {
  if (!keepPart(host, 'parent', packed)) return;
  const { router, config, core } = host;
  const methods = (host.methods = new Map<string, Method>(METHODS));
  const ledger = new PartLedger(router, (name) => host.packed?.get(name));
  const forwarder = new ModuleForwarder(router, profileOf(process.version));
  const log = new LogForwarder(router, config.parentIds.at(-1) ?? 0, config.logLevel, () => undefined);
  const routing = new ChildRouting(router, {
    edge: config.unidirectional ? unidirectional : undefined,
    quotas: config.quotas,
    warn: (text) => {
      log.record('tendril', 'warn', text);
    },
  });
  const parenthood = new Parenthood(router, ledger, routing);
  Object.assign(host, { routing, forwarder, parenthood } satisfies Partial<ParentHost>);
  host.reaped = new Connector({ router, config, core, ledger, methods, routing, forwarder }).reaped;
  // What has come before is with the main thread.
  host.recall();
}
