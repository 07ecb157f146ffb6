import { installed, installedNodes } from '../../tools/installed.js';
import type { InstalledNode } from '../../tools/installed.js';

export type { InstalledNode } from '../../tools/installed.js';

/** The directory of a nested npm project, with its packages; undefined, after saying why, where they cannot be had. */
export function packagesOf(name: string): string | undefined {
  const { directory, problem } = installed(name);
  if (problem === undefined) return directory;
  report(problem);
  return undefined;
}

/** The versions of Node to run children on; only this one, after saying why, where the others cannot be had. */
export function nodesToTry(): readonly InstalledNode[] {
  const { nodes, problem } = installedNodes();
  if (problem === undefined) return nodes;
  report(problem);
  return [{ name: 'this Node', version: process.version, path: process.execPath }];
}

function report(problem: string): void {
  if (process.env['TENDRIL_NEEDS'] === 'all') throw new Error(problem);
  process.stderr.write(`SKIPPED some of a suite: ${problem}\n`);
}
