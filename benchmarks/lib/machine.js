// What a reader must know of the machine. No names, no paths.
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

/** First line that a program prints about itself, or undefined. */
function says(command, ...args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim().split('\n')[0];
  } catch {
    return undefined;
  }
}

export function machine() {
  const cores = cpus();
  return {
    cpu: cores[0]?.model ?? 'unknown',
    cores: cores.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: `${process.platform} ${release()}`,
    node: process.version,
    python: says('/usr/bin/python3', '-c', 'import platform; print(platform.python_version())'),
    mitogen: says('/usr/bin/python3', '-c', 'import mitogen; print(".".join(map(str, mitogen.__version__)))'),
  };
}

/** Whether a program can be started here. */
export function has(command, ...args) {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch (error) {
    return error.code !== 'ENOENT';
  }
}
