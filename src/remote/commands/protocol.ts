import type { Secret } from '../../core/wire/secret.ts';

/** A command as it is asked for. */
export interface CommandSpec {
  readonly command: string;
  readonly args: readonly string[];
  /** Undefined: the directory of the context. */
  readonly cwd?: string;
  /** What is changed in the environment of the context; null takes a variable away. */
  readonly env?: Readonly<Record<string, string | Secret | null>>;
  readonly shell?: boolean | string;
  /** Whether stdout and stderr are read; what is not goes to /dev/null. */
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Milliseconds between SIGTERM and SIGKILL. */
  readonly graceMs: number;
}

/** What happens to a command: it has begun, it has ended. */
export type CommandEvent = readonly ['pid', pid: number] | readonly ['exit', code: number | null, signal: string | null];

/** Its streams, by their descriptors. */
export const STDOUT = 1;
export const STDERR = 2;
