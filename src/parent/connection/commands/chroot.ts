import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context in another root directory. */
export interface ChrootOptions {
  /** The directory. It needs `/dev/null`, `sh` and Node. */
  readonly directory: string;
  /** Account there: `user`, `user:group`, by name or number. Default: unchanged. */
  readonly username?: string;
  /** The chroot to run, a name or path. Default `chroot`. */
  readonly chrootPath?: string;
}

const RULES: readonly ExitRule[] = [
  { reason: 'TARGET_MISSING', says: 'there is no such directory: check the option directory', phase: 'command', text: /chroot: cannot change root directory to .*: (?:No such file or directory|Not a directory)|chroot: can't change root directory to/ },
  { reason: 'PERMISSION_DENIED', says: 'this account may not change its root directory', phase: 'command', text: /chroot: cannot change root directory to .*: Operation not permitted/ },
  { reason: 'USER_UNKNOWN', says: 'there is no such account: check the option username', phase: 'command', text: /chroot: invalid (?:user|group)/ },
];

/** Another root directory on this machine, by chroot. */
export const chroot: CommandMethod<ChrootOptions> = {
  plan: ({ directory, username, chrootPath = 'chroot' }) => {
    const check = new OptionCheck('chroot');
    return {
      argv: [check.text('chrootPath', chrootPath), ...(username === undefined ? [] : [`--userspec=${check.name('username', username)}`]), check.text('directory', directory)],
      stage: 'argv',
      programOption: 'chrootPath',
      rules: RULES,
    };
  },
  again: () => 'search',
};
