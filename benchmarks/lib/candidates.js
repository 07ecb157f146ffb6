// The candidates, and how to start them.
import { fileURLToPath } from 'node:url';
import { Candidate } from './candidate.js';

const peer = (file) => fileURLToPath(new URL(`../peers/${file}`, import.meta.url));
/** Debian's; another Python may come first on the PATH, and not have Mitogen. */
export const PYTHON = '/usr/bin/python3';

export const OURS = 'tendril';
export const FORK = 'fork json';
export const FORK_ADVANCED = 'fork advanced';
export const PIPE = 'node pipe';
export const PIPE_STATIC = 'node pipe, static buffer';
export const RELAY = 'node relay';
export const FILE_RELAY = 'node pipes';
export const SFTP = 'ssh2 sftp';
export const SSH2 = 'ssh2';
export const TWO_PIPES = 'node, two pipes';
export const MITOGEN = 'mitogen';

const COMMANDS = {
  [OURS]: [process.execPath, peer('tendril.js')],
  [FORK]: [process.execPath, peer('fork.js'), 'json'],
  [FORK_ADVANCED]: [process.execPath, peer('fork.js'), 'advanced'],
  [PIPE]: [process.execPath, peer('pipe.js')],
  [PIPE_STATIC]: [process.execPath, peer('pipe.js'), 'static'],
  [RELAY]: [process.execPath, peer('relay.js')],
  [FILE_RELAY]: [process.execPath, peer('file-relay.js')],
  [SFTP]: [process.execPath, peer('sftp.js')],
  [SSH2]: [process.execPath, peer('ssh2.js')],
  [TWO_PIPES]: [process.execPath, peer('two-pipes.js')],
  [MITOGEN]: [PYTHON, peer('mitogen_driver.py')],
};

/** Starts those that this machine has. `prefix` is a command that runs another, such as taskset. */
export async function startCandidates(names, notes, prefix = []) {
  const started = await Promise.all(names.map((name) => Candidate.start(name, [...prefix, ...COMMANDS[name]], notes)));
  return Object.fromEntries(started.filter(Boolean).map((candidate) => [candidate.name, candidate]));
}

/** Starts candidates for the time of `work`. */
export async function withCandidates(names, notes, work, prefix) {
  const candidates = await startCandidates(names, notes, prefix);
  try {
    return await work(candidates);
  } finally {
    await Promise.all(Object.values(candidates).map((candidate) => candidate.close()));
  }
}
