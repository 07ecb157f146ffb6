import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ConnectedContext, Master, ModuleStats } from 'tendril';

const NOTHING: ModuleStats = { requests: 0, loads: 0, bytes: 0, codeCacheBytes: 0, cacheHits: 0, negatives: 0 };

/** The counters of a context, also before anything was sent to it. */
export function counted(master: Master, context: ConnectedContext): ModuleStats {
  return master.stats().get(context.id) ?? NOTHING;
}

const JAIL = fileURLToPath(new URL('jail.sh', import.meta.url));
let mayHide: boolean | undefined;

/**
 * A command that runs Node where the given directories are empty, so that nothing can come from there: in a mount
 * namespace of its own, where this account may make one, else just Node.
 */
export function jailed(node: string, ...hidden: readonly string[]): readonly string[] {
  mayHide ??= spawnSync('unshare', ['-m', 'true']).status === 0;
  return mayHide ? ['unshare', '-m', 'sh', JAIL, ...hidden, '--', node] : [node];
}
