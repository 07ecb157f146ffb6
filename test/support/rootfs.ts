import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, linkSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { findProgram } from './needs.ts';

/** What is in every root file system besides the programs that a test names. */
const BASE = ['sh', 'sleep', 'cat', 'id'];

/** Options of {@link makeRootfs}. */
export interface RootfsOptions {
  /** Programs of this machine that it has too. */
  readonly programs?: readonly string[];
  /** False: without Node. Default: /usr/bin/node is the Node that runs this. */
  readonly node?: boolean;
}

/**
 * Makes a directory the root of a small system from programs of this machine and their libraries: no image is needed
 * from anywhere. Its accounts are root and `app` (1000).
 */
export function makeRootfs(directory: string, options: RootfsOptions = {}): void {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'root', 'run', 'sys', 'tmp', 'usr/bin', 'home/app']) mkdirSync(join(directory, name), { recursive: true });
  chmodSync(join(directory, 'tmp'), 0o1777);
  writeFileSync(join(directory, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n');
  writeFileSync(join(directory, 'etc/group'), 'root:x:0:\napp:x:1000:\n');
  for (const name of [...BASE, ...(options.programs ?? [])]) addProgram(directory, findProgram(name) ?? name, `/bin/${basename(name)}`);
  if (options.node !== false) addProgram(directory, process.execPath, '/usr/bin/node');
  if (!existsSync(join(directory, 'dev/null'))) execFileSync('mknod', ['-m', '666', join(directory, 'dev/null'), 'c', '1', '3']);
}

/** A program and the libraries that it is linked with. */
function addProgram(directory: string, program: string, place: string): void {
  add(directory, program, place);
  for (const [, library = ''] of execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)) add(directory, library, library);
}

function add(directory: string, file: string, place: string): void {
  const target = join(directory, place);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  const real = realpathSync(file);
  try {
    linkSync(real, target);
  } catch {
    copyFileSync(real, target);
    chmodSync(target, 0o755);
  }
}
