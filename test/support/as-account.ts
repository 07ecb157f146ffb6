import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeAccount, processTable, program, reachableNode, removeAccount } from './accounts.ts';
import type { Account, AccountWish } from './accounts.ts';

/** Accounts of one test file, and programs that run as one of them. */
export interface TestAccounts<Name extends string> {
  readonly accounts: Readonly<Record<Name, Account>>;
  /** For files of the test; removed with the accounts. Every account can read it. */
  readonly directory: string;
  /** This Node, where every account can run it. */
  readonly node: string;
  /** Path of a script that runs a program of this machine as an account: sudo as someone who is not root. */
  as(name: Name, tool: string): string;
  /** Command lines of the processes that run as one of the accounts, or have `text` in their command line. */
  running(text: string): string[];
  /** Removes accounts and files; processes of the accounts must have ended. */
  remove(): Promise<void>;
}

/** Makes throw-away accounts; see ACCOUNT_NEEDS. */
export async function makeAccounts<Name extends string>(wishes: readonly (AccountWish & { readonly name: Name })[]): Promise<TestAccounts<Name>> {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-accounts-'));
  chmodSync(directory, 0o755);
  const made: Record<string, Account> = {};
  const remove = async (): Promise<void> => {
    for (const account of Object.values(made)) await removeAccount(account);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (const wish of wishes) made[wish.name] = await makeAccount(wish, directory);
  } catch (error) {
    await remove();
    throw error;
  }
  const as = (name: Name, tool: string): string => {
    const { username, home } = made[name]!;
    const path = join(directory, `${tool}-as-${name}`);
    const environment = `HOME=${home} USER=${username} LOGNAME=${username} PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`;
    writeFileSync(path, `#!/bin/sh\nexec setpriv --reuid=${username} --regid=${username} --init-groups env -i ${environment} ${program(tool)} "$@"\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const running = (text: string): string[] => {
    const uids = new Set(Object.values(made).map(({ uid }) => uid));
    return [...processTable()].flatMap(([pid, { uid }]) => {
      const line = commandLineOf(pid);
      return pid !== process.pid && (uids.has(uid) || line.includes(text)) ? [`${String(pid)} ${line}`] : [];
    });
  };
  return { accounts: made as Record<Name, Account>, directory, node: reachableNode(directory), as, running, remove };
}

function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
