import { spawn } from 'node:child_process';
import type { Writable } from 'node:stream';

/**
 * Reads `+ group` and `- group` lines, and at the end of file kills the groups that are left. The end of file comes
 * however this process ends, kill -9 and a crash among it.
 */
const SCRIPT = 'while read -r op id; do if [ "$op" = + ]; then set -- "$@" "$id"; else for one; do shift; [ "$one" = "$id" ] || set -- "$@" "$one"; done; fi; done; for one; do kill -KILL "-$one"; done';

let stdin: Writable | undefined;
const groups = new Set<number>();

/** Sees to it that a process group ends when this process does, in whatever way. */
export function guard(group: number): void {
  groups.add(group);
  if (groups.size === 1) process.on('exit', killAll);
  write(`+ ${String(group)}\n`);
}

/** The group has ended, or may live on. */
export function release(group: number): void {
  if (!groups.delete(group)) return;
  if (groups.size === 0) process.off('exit', killAll);
  write(`- ${String(group)}\n`);
}

/** Sends a signal to a group; false when it is not there. */
export function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch {
    return false;
  }
}

function killAll(): void {
  for (const group of groups) signalGroup(group, 'SIGKILL');
}

function write(line: string): void {
  stdin ??= start();
  stdin.write(line);
}

/** Where there is no sh there is no watchdog: then an exit in order is all that ends the groups. */
function start(): Writable {
  const child = spawn('sh', ['-c', SCRIPT, 'tendril-watchdog'], { stdio: ['pipe', 'ignore', 'ignore'], cwd: '/', detached: true });
  const ignore = (): void => undefined;
  child.on('error', ignore);
  child.stdin.on('error', ignore);
  // It is no reason to keep this process.
  child.unref();
  (child.stdin as unknown as { unref(): void }).unref();
  return child.stdin;
}
