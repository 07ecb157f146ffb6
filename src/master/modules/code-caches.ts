import type { Subscription } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import type { ModuleRecord } from '../../core/importer/records.ts';
import { cutCodeCaches, joinCodeCaches } from '../../importer/batch.ts';
import { codeCacheOf } from '../../importer/compiling.ts';
import { withoutQuery } from '../../importer/ids.ts';

/** Bytes of code caches that one master makes, single and joined; after these it makes no more. */
const MAX_BYTES: number = 64 * 1024 * 1024;
/** Bytes of the largest source that is compiled for its cache: the master does nothing else for that time, up to 30 ms. */
const MAX_SOURCE: number = 1024 * 1024;
/** Milliseconds after modules were sent: the child that runs them comes first. */
const QUIET_MS = 50;
/** Of a module that has none. */
const NONE = new Uint8Array(0);

/**
 * V8's code caches of modules, for children that run the very Node of this process (docs/decisions.md, D-035). Made here
 * and nowhere else, without running anything: V8 does not check a cache against its source, so one that came from a child
 * could plant code in its siblings. The first child does not wait for them: they are made after it has got its modules,
 * one in each turn of the loop, for those that come later.
 */
export class CodeCaches {
  readonly #broker: Broker;
  readonly #maxBytes: number;
  readonly #kept = new WeakMap<ModuleRecord, Uint8Array>();
  readonly #joined = new WeakMap<Uint8Array, Uint8Array>();
  readonly #wanted = new Set<ModuleRecord>();
  #bytes = 0;
  #timer: Subscription | undefined;
  #closed = false;

  constructor(broker: Broker, maxBytes = MAX_BYTES) {
    this.#broker = broker;
    this.#maxBytes = maxBytes;
  }

  /**
   * The code caches of the records of a batch, joined, as far as there are any. The others are made when there is time.
   *
   * @param packed - the batch: where all caches are there, they are kept as long as it is
   */
  of(records: readonly ModuleRecord[], packed: Uint8Array): Uint8Array | undefined {
    const known = this.#joined.get(packed);
    if (known) return known;
    const caches = records.map((record) => this.#kept.get(record));
    records.forEach((record, index) => {
      if (caches[index] === undefined) this.#want(record);
    });
    if (!caches.some((cache) => cache !== undefined && cache.length > 0)) return undefined;
    const joined = joinCodeCaches(caches);
    if (!caches.includes(undefined) && this.#bytes + joined.length <= this.#maxBytes) {
      this.#bytes += joined.length;
      this.#joined.set(packed, joined);
      // The single ones go, until another batch has them too.
      const cut = cutCodeCaches(joined, records.length);
      records.forEach((record, index) => this.#kept.set(record, cut[index] ?? NONE));
    }
    return joined;
  }

  #want(record: ModuleRecord): void {
    // Instances (`./x.mjs?1`) are records that nobody keeps, and the text of a `data:` URL may be a child's.
    if (this.#closed || !record[0].startsWith('file:') || withoutQuery(record[0]) !== record[0]) return;
    this.#wanted.add(record);
    this.#timer ??= this.#broker.after(QUIET_MS, () => {
      this.#makeNext();
    });
  }

  /** Makes no more. */
  close(): void {
    this.#closed = true;
    this.#timer?.unsubscribe();
    this.#wanted.clear();
  }

  #makeNext(): void {
    const [record] = this.#wanted;
    if (record === undefined) {
      this.#timer = undefined;
      return;
    }
    this.#wanted.delete(record);
    const made = this.#bytes < this.#maxBytes && record[2].length <= MAX_SOURCE ? codeCacheOf(record) : undefined;
    const cache = made && this.#bytes + made.length <= this.#maxBytes ? made : NONE;
    this.#bytes += cache.length;
    this.#kept.set(record, cache);
    this.#timer = this.#broker.after(0, () => {
      this.#makeNext();
    });
  }
}
