import type { TrafficCount } from './routing/parent-router.ts';
import type { ConnectionState } from './connected-context.ts';

/** What a context has asked for and got. */
export interface ModuleStats {
  /** Requests for modules and files that came from the context. Zero when everything was there before it was wanted. */
  readonly requests: number;
  /** Modules that were sent to it. */
  readonly loads: number;
  /** Bytes of modules and files that were sent to it, compressed. */
  readonly bytes: number;
  /** Bytes of V8's code caches that were sent to it beside those: to local children that run the Node of this process only. */
  readonly codeCacheBytes: number;
  /** Batches that another context had needed before, and requests for what it had already. */
  readonly cacheHits: number;
  /** Requests whose answer was no. */
  readonly negatives: number;
}

/** Round trips of `ping()`, in milliseconds. */
export interface RttStats {
  readonly last: number;
  readonly min: number;
  readonly mean: number;
  /** How many there were. */
  readonly count: number;
}

/** What is known of a context at this moment. Counts begin with its present connection, except where it says otherwise. */
export interface ContextStats {
  readonly state: ConnectionState['state'];
  /** Milliseconds since it was connected; undefined while it is not. */
  readonly connectedForMs: number | undefined;
  /** Connections so far, the first one among them. */
  readonly connections: number;
  /** Calls that are subscribed to and not settled, those that wait among them. */
  readonly calls: number;
  /** Bytes queued for it but not taken by the operating system yet. */
  readonly pendingBytes: number;
  /** Messages from this process to it. Undefined in a child, where the other thread sends them. */
  readonly sent: TrafficCount | undefined;
  /** Messages from it to this process. Undefined in a child. */
  readonly received: TrafficCount | undefined;
  /** Of the pings of this process, whatever the connection; undefined before the first one. */
  readonly rtt: RttStats | undefined;
  /** What it has needed of modules; undefined when that is nothing, and in a child. */
  readonly modules: ModuleStats | undefined;
}

/** Collects round trips. */
export class Rtt {
  #last = 0;
  #min = Infinity;
  #sum = 0;
  #count = 0;

  add(ms: number): void {
    this.#last = ms;
    this.#min = Math.min(this.#min, ms);
    this.#sum += ms;
    this.#count++;
  }

  get stats(): RttStats | undefined {
    return this.#count === 0 ? undefined : { last: this.#last, min: this.#min, mean: this.#sum / this.#count, count: this.#count };
  }
}
