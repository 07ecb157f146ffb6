import type { ModulePolicyConfig } from './importer/records.ts';

/** How much the inside of a context shows of itself, on its raw stderr: nothing, events, or every message as well. */
export type TraceLevel = 'off' | 'events' | 'io';

/** Ranks of log levels, as in winston's npm levels: a lower rank is more urgent. */
export const LOG_LEVELS = { error: 0, warn: 1, info: 2, http: 3, verbose: 4, debug: 5, silly: 6 } as const;

/** A log level of winston's npm set. */
export type LogLevel = keyof typeof LOG_LEVELS;

/** How the two ends of a connection notice that it is dead although nothing says so. */
export interface Keepalive {
  /** Milliseconds without traffic after which the parent asks the child for a sign of life. */
  readonly intervalMs: number;
  /** Questions that may stay unanswered. One interval after the last of them the connection is lost, for both ends. */
  readonly countMax: number;
}

/** How often something may be done. */
export interface Rate {
  /** How often at once, after a pause. */
  readonly burst: number;
  /** How often per second in the long run. */
  readonly perSecond: number;
}

/** What one direct child may ask of its parent, for itself and all that is behind it. Quotas of modules: src/master/modules. */
export interface Quotas {
  /** Context IDs that it may hold in blocks. */
  readonly ids: number;
  /** Requests for IDs. */
  readonly idRequests: Rate;
  /** Log records. Lines of output are among them, so honest programs need many at a time. */
  readonly logs: Rate;
}

/**
 * What a parent tells a new child, as the data of the first frame of their stream (destination: the child's ID,
 * handle 0). It travels apart from the core, so that the core is compressed once for all children.
 */
export interface ChildConfig {
  readonly id: number;
  /** From the immediate parent up to the master. */
  readonly parentIds: readonly number[];
  readonly name: string;
  /** Less urgent records are dropped in the child. */
  readonly logLevel: LogLevel;
  readonly maxMessageSize: number;
  /** Time for an orderly end before the process is ended by force. */
  readonly graceMs: number;
  readonly readBufferSize: number;
  readonly trace: TraceLevel;
  /** Whether the main thread profiles itself, and sends the profile on the handle PROFILE when it shuts down. */
  readonly profile: boolean;
  /** Whether nothing passes between the children of this context, should it get some. */
  readonly unidirectional: boolean;
  /** How the end of the parent is noticed where nothing tells of it; also for children of this context. */
  readonly keepalive: Keepalive | false;
  /** How many children this context boots at a time. */
  readonly maxHandshakes: number;
  /** Bytes a second of bulk on a link that small messages use too, where the master says something else than the default. */
  readonly bulkRate?: number;
  /** What a child of this context may ask of it, where the master says something else than the defaults. */
  readonly quotas?: Partial<Quotas>;
  /** Which modules may come here. */
  readonly modules: ModulePolicyConfig;
}
