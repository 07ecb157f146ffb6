import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe } from '@jest/globals';

/** Directories of programs for the administrator, which the PATH of a person often lacks. */
const MORE_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** The full path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_DIRECTORIES];
  return directories.map((directory) => join(directory, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** True for the account that may make other accounts. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * `describe` when every program is installed (`root` asks for that account), else `describe.skip` and a line that says
 * what is missing: `needs('sshd', 'useradd', 'root')('a real sshd', () => ...)`. Where TENDRIL_NEEDS is `all`, nothing is
 * skipped: what is missing fails.
 */
export function needs(...what: readonly string[]): typeof describe | typeof describe.skip {
  const missing = what.filter((name) => (name === 'root' ? !isRoot() : findProgram(name) === undefined));
  if (missing.length === 0 || process.env['TENDRIL_NEEDS'] === 'all') return describe;
  process.stderr.write(`SKIPPED a suite: this machine lacks ${missing.join(', ')} (.ci/run installs what all suites need)\n`);
  return describe.skip;
}
