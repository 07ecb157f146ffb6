import type { ModuleStats } from '../../parent/context-stats.ts';
import { firstValueFrom } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import type { ModuleRecord, Profile } from '../../core/importer/records.ts';
import type { Router } from '../../core/routing/router.ts';
import { IMPORTER } from '../../parent/modules/send.ts';
import { SentModules } from '../../parent/modules/sent.ts';
import type { GraphModule } from './module-graph.ts';
import { packageOf, isInside } from './packages.ts';
import type { Package } from './packages.ts';
import { fileURLToPath } from 'node:url';
import { LIBRARY_PARTS, withoutQuery } from '../../importer/ids.ts';
import { Throttle } from './throttle.ts';

/** What a child may ask for: enough for a program that loads a thousand plug-ins by computed names. */
const REQUESTS = { burst: 2000, perSecond: 200, queue: 1000 } as const;
/** Files that may be waited for; they are read one after another. */
const MAX_READS = 1000;
/** Bytes that a context may leave unread before the next file is read for it. */
const MAX_UNREAD: number = 8 * 1024 * 1024;

/** A direct child, as the responder sees it: what it and those below it have, and what they may therefore see. */
export class Client {
  readonly contextId: number;
  /** Whether it runs the very Node of this process. */
  readonly sameNode: boolean;
  readonly throttle: Throttle;
  readonly reads = new Sequence(MAX_READS);
  requests = 0;
  loads = 0;
  bytes = 0;
  codeCacheBytes = 0;
  cacheHits = 0;
  negatives = 0;
  instances = 0;
  readonly #sent = new SentModules();
  readonly #mayAsk = new Set<string>();
  readonly #packages = new Map<string, Package>();

  constructor(contextId: number, broker: Broker, sameNode: boolean) {
    this.sameNode = sameNode;
    this.contextId = contextId;
    this.throttle = new Throttle(broker, REQUESTS);
  }

  stats(): ModuleStats {
    return { requests: this.requests, loads: this.loads, bytes: this.bytes, codeCacheBytes: this.codeCacheBytes, cacheHits: this.cacheHits, negatives: this.negatives };
  }

  has(profile: Profile, id: string): boolean {
    return this.#sent.has(profile, id);
  }

  /** Whether a module that it has names this one. */
  mayAsk(id: string): boolean {
    return this.#mayAsk.has(id);
  }

  /** Packages of which it has a module. */
  get packages(): Package[] {
    return [...this.#packages.values()];
  }

  /** Whether a real path is in one of them. */
  sees(path: string): boolean {
    return this.packages.some((one) => isInside(one, path));
  }

  /** Notes that the importer is sent; false when that has happened before. */
  begin(profile: Profile): boolean {
    if (this.#sent.has(profile, IMPORTER)) return false;
    this.#sent.add(profile, [IMPORTER]);
    return true;
  }

  /** Notes what is sent. */
  sent(profile: Profile, modules: readonly GraphModule[]): void {
    this.#sent.add(profile, modules.map(({ record }) => record[0]));
    for (const { record, mayAsk } of modules) {
      for (const other of mayAsk) this.#mayAsk.add(other);
      this.loads++;
      if (!record[0].startsWith('file:') || LIBRARY_PARTS.has(record[0])) continue;
      const found = packageOfRecord(record);
      this.#packages.set(found.root, found);
    }
  }

  /** Resolves when little of what was sent to the context is still unread. */
  async drained(router: Router): Promise<void> {
    const stream = router.table.get(this.contextId);
    if (stream !== undefined && stream.pendingBytes > MAX_UNREAD) await firstValueFrom(stream.drained, { defaultValue: undefined });
  }
}

const packages = new WeakMap<ModuleRecord, Package>();

function packageOfRecord(record: ModuleRecord): Package {
  let found = packages.get(record);
  if (found === undefined) packages.set(record, (found = packageOf(fileURLToPath(withoutQuery(record[0])))));
  return found;
}

/** Does asynchronous work one piece after another. */
class Sequence {
  readonly #limit: number;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Does `work` in its turn; false, and nothing happens, when too much waits. `work` must not reject. */
  run(work: () => Promise<void>): boolean {
    if (this.#waiting >= this.#limit) return false;
    this.#waiting++;
    this.#last = this.#last.then(work).finally(() => {
      this.#waiting--;
    });
    return true;
  }
}
