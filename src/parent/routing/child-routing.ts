import type { Quotas } from '../../core/config.ts';
import type { Router } from '../../core/routing/router.ts';
import { ContextDirectory } from './context-directory.ts';
import type { EdgePolicy } from './edge-policy.ts';
import { IdBlocks } from './id-blocks.ts';
import type { IdRange } from './id-pool.ts';
import { quotasOf } from './quotas.ts';
import { RouteMonitor } from './route-monitor.ts';
import { Traffic } from './traffic.ts';

/** For how long the ID of a context that is gone is not used again, in milliseconds. */
export const DEFAULT_QUARANTINE_MS = 60_000;

/** Options of {@link ChildRouting}. */
export interface ChildRoutingOptions {
  /** IDs to begin with: all of them in the master, none elsewhere. */
  readonly ids?: readonly IdRange[];
  /** What may pass between children. Default: everything. */
  readonly edge?: EdgePolicy | undefined;
  /** What differs from the defaults. */
  readonly quotas?: Partial<Quotas> | undefined;
  /** Default {@link DEFAULT_QUARANTINE_MS}. */
  readonly quarantineMs?: number;
  /** Where the contexts behind this one are written down. Default: one of its own. */
  readonly directory?: ContextDirectory | undefined;
  /** Takes a line about an offence of a child, for the log. */
  readonly warn: (text: string) => void;
}

/** What a router gets once its context has children: their IDs, their routes, and an eye on their traffic. */
export class ChildRouting {
  readonly traffic: Traffic;
  readonly ids: IdBlocks;
  readonly routes: RouteMonitor;
  /** The contexts behind this one. */
  readonly directory: ContextDirectory;

  constructor(router: Router, { ids, edge, quotas: some, quarantineMs = DEFAULT_QUARANTINE_MS, directory = new ContextDirectory(router.broker.report), warn }: ChildRoutingOptions) {
    this.directory = directory;
    const quotas = quotasOf(some);
    this.traffic = new Traffic(router, { edge, logs: quotas.logs, warn });
    this.ids = new IdBlocks(router, { ...(ids && { ids }), quarantineMs, quotas, traffic: this.traffic });
    this.routes = new RouteMonitor(router, this.ids, this.traffic, directory);
  }
}
