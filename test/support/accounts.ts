import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, chmodSync, chownSync, constants, copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from './needs.ts';

/** An account to make. */
export interface AccountWish {
  /** What the test calls it. */
  readonly name: string;
  /** Full path of the login shell. */
  readonly shell: string;
  /** Files of the home directory, such as `.bashrc`. */
  readonly files?: Readonly<Record<string, string>>;
}

/** An account that exists until it is removed. */
export interface Account {
  /** Login name, unique on this machine. */
  readonly username: string;
  readonly password: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** What `needs` must find for {@link makeAccount}. */
export const ACCOUNT_NEEDS = ['useradd', 'userdel', 'chpasswd', 'root'] as const;

/** The full path of a program, or its name where it is missing. */
export function program(name: string): string {
  return findProgram(name) ?? name;
}

/** Tries again while another test process holds the lock of /etc/passwd. */
async function retried(work: () => Promise<unknown>): Promise<void> {
  for (let left = 100; ; left--) {
    try {
      await work();
      return;
    } catch (error) {
      if (left === 0 || !/lock|currently used/.test(String((error as { stderr?: unknown }).stderr))) throw error;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
}

/** Makes an account with a random name and password, whose home is in `directory`. */
export async function makeAccount(wish: AccountWish, directory: string): Promise<Account> {
  const username = `tdrl-${randomBytes(5).toString('hex')}`;
  const password = randomBytes(9).toString('base64url');
  const home = join(directory, 'home', wish.name);
  mkdirSync(home, { recursive: true });
  await retried(() => promisify(execFile)(program('useradd'), ['--no-create-home', '--home-dir', home, '--shell', wish.shell, username]));
  await retried(() => {
    const running = promisify(execFile)(program('chpasswd'), []);
    running.child.stdin?.end(`${username}:${password}\n`);
    return running;
  });
  const [, , uid, gid] = (readFileSync('/etc/passwd', 'utf8').split('\n').find((line) => line.startsWith(`${username}:`)) ?? '').split(':').map(Number);
  if (uid === undefined || gid === undefined) throw new Error(`useradd made no account ${username}`);
  for (const [name, contents] of Object.entries(wish.files ?? {})) {
    mkdirSync(dirname(join(home, name)), { recursive: true });
    writeFileSync(join(home, name), contents);
    chownSync(join(home, name), uid, gid);
  }
  chownSync(home, uid, gid);
  return { username, password, uid, gid, home };
}

/** Removes an account; its home goes with the directory that it was made in. */
export async function removeAccount({ username }: Account): Promise<void> {
  await retried(() => promisify(execFile)(program('userdel'), [username]));
}

/** This Node where other accounts may run it, or else a copy. */
export function reachableNode(directory: string): string {
  const node = realpathSync(process.execPath);
  const open = (path: string): boolean => (statSync(path).mode & 0o001) !== 0 && (path === '/' || open(dirname(path)));
  if (open(node)) return node;
  const copy = join(directory, 'bin', 'node');
  if (!existsSync(copy)) {
    mkdirSync(dirname(copy));
    copyFileSync(node, copy);
    chmodSync(copy, 0o755);
  }
  accessSync(copy, constants.X_OK);
  return copy;
}

/** Parent and owner of every process that there is. */
export function processTable(): Map<number, { parent: number; uid: number }> {
  const table = new Map<number, { parent: number; uid: number }>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const status = readFileSync(`/proc/${entry}/status`, 'utf8');
      if (/^State:\s+[ZX]/m.test(status)) continue;
      table.set(Number(entry), { parent: Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]), uid: Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1]) });
    } catch {
      // It ended while we looked.
    }
  }
  return table;
}
