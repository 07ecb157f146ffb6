import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import type { AttachedTree } from 'tendril';
import { startedProcesses } from './tree.ts';

/** Whether a process runs: one that has ended and that nobody has waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${String(pid)}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Looks until something holds, for at most six seconds; whether it does. */
export async function comesTrue(holds: () => boolean): Promise<boolean> {
  for (let turn = 0; turn < 600 && !holds(); turn++) await new Promise((resolve) => setTimeout(resolve, 10));
  return holds();
}

/** Runs a test with a directory for sockets. What outlives it because it fails is ended. */
export function withSockets(test: (directory: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const directory = mkdtempSync(join(os.tmpdir(), 'tendril-sockets-'));
    try {
      await test(directory);
    } catch (error) {
      for (const line of startedProcesses()) process.kill(Number(/^\d+/.exec(line)?.[0]), 'SIGKILL');
      throw error;
    } finally {
      rmSync(directory, { recursive: true });
    }
  };
}

/** Shuts down what was joined, and waits for the end of its processes. Gives those that are left. */
export async function endTree(tree: AttachedTree, ...pids: readonly number[]): Promise<number[]> {
  await tree.contexts[0]?.shutdown();
  await tree.close();
  await comesTrue(() => !pids.some(isAlive));
  return pids.filter(isAlive);
}
