import type { Keepalive, LogLevel } from '../core/config.ts';
import type { Context } from '../core/context.ts';
import type { Reconnect } from './connection/reconnect.ts';

/** Options of every connection method. */
export interface ContextOptions {
  /**
   * The context that starts the new one: `master.sudo({ via: host })`. It may still be connecting itself. What the
   * options name (files, agents, hosts) is what that context has. Default: this process starts it.
   */
  readonly via?: Context;
  /** Name for logs and errors. Default: made from the method and its target, behind the name of `via`. */
  readonly name?: string;
  /** Process title there. Default `tendril:<name>`. */
  readonly title?: string;
  /** Milliseconds from the start of the process there until its core runs. Default 30000. */
  readonly bootTimeoutMs?: number;
  /** Log level of this context. Default: the master's. */
  readonly logLevel?: LogLevel;
  /**
   * Takes the CPU profile of the context's main thread when it shuts down in order: the text of a `.cpuprofile` file,
   * which Chrome's and VS Code's tools open. Profiling begins with the core. Default: none.
   */
  readonly onProfile?: (profile: string) => void;
  /** How the connection to it is watched, and those to its own children. False: not at all. Default: the master's. */
  readonly keepalive?: Keepalive | false;
  /**
   * Whether to connect again when the connection fails or is lost, and when. Calls that are made meanwhile wait; those
   * under way fail, and are not repeated. Each connection has a new {@link Context.id}. Default false.
   */
  readonly reconnect?: Reconnect;
}

/** What every context has, whatever the method; the rest of the options is the method's. */
export const CONTEXT_OPTIONS = ['via', 'name', 'title', 'bootTimeoutMs', 'logLevel', 'onProfile', 'keepalive', 'reconnect'] as const satisfies readonly (keyof ContextOptions)[];
const COMMON: readonly string[] = CONTEXT_OPTIONS;

/** The options of the method alone, as they travel to the context that connects. */
export function methodOptions(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => !COMMON.includes(name) && value !== undefined));
}
