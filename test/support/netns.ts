import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { findProgram, isRoot } from './needs.ts';

/** A network namespace with one link to ours. */
export interface NetworkNamespace {
  /** Address in there, to connect to. */
  readonly address: string;
  /** What runs a program in there: the beginning of its command line. */
  readonly prefix: readonly string[];
  /** Takes the link away without a word to either side. */
  cut(): Promise<void>;
  /** Removes everything. Processes in there are not ended. */
  close(): Promise<void>;
}

const ip = (...args: readonly string[]): Promise<unknown> => promisify(execFile)(findProgram('ip') ?? 'ip', args);

/** Whether this machine lets us make namespaces: containers often do not. */
export function mayMakeNamespaces(): boolean {
  if (!isRoot() || findProgram('ip') === undefined) return false;
  const name = `tdrl-${randomBytes(4).toString('hex')}`;
  try {
    execFileSync(findProgram('ip') ?? 'ip', ['netns', 'add', name], { stdio: 'ignore' });
    execFileSync(findProgram('ip') ?? 'ip', ['netns', 'del', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Makes a namespace, linked to ours by a pair of virtual interfaces with addresses of 198.18.0.0/15, which no network has. */
export async function makeNamespace(): Promise<NetworkNamespace> {
  const id = randomBytes(4);
  const name = `tdrl-${id.toString('hex')}`;
  const [ours, theirs] = [`td${id.toString('hex')}o`, `td${id.toString('hex')}t`];
  const base = `198.${String(18 + ((id[0] ?? 0) & 1))}.${String(id[1])}.${String((id[2] ?? 0) & 0xfc)}`.split('.').map(Number);
  const at = (offset: number): string => [...base.slice(0, 3), (base[3] ?? 0) + offset].join('.');
  await ip('netns', 'add', name);
  try {
    await ip('link', 'add', ours, 'type', 'veth', 'peer', 'name', theirs, 'netns', name);
    await ip('address', 'add', `${at(1)}/30`, 'dev', ours);
    await ip('link', 'set', ours, 'up');
    await ip('-n', name, 'address', 'add', `${at(2)}/30`, 'dev', theirs);
    await ip('-n', name, 'link', 'set', theirs, 'up');
    await ip('-n', name, 'link', 'set', 'lo', 'up');
  } catch (error) {
    await ip('netns', 'del', name);
    throw error;
  }
  return {
    address: at(2),
    prefix: [findProgram('ip') ?? 'ip', 'netns', 'exec', name],
    cut: async () => {
      await ip('link', 'set', ours, 'down');
    },
    close: async () => {
      await ip('link', 'del', ours);
      await ip('netns', 'del', name);
    },
  };
}
