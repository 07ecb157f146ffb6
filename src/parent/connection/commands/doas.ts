import type { Secret } from '../../../core/wire/secret.ts';
import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context of another account, through doas. */
export interface DoasOptions {
  /** Account to become. Default `root`. */
  readonly username?: string;
  /**
   * Password of the account that runs this process. doas reads it from a terminal only, which script(1) makes. Default:
   * doas must not ask (`nopass` or `persist`).
   */
  readonly password?: string | Secret;
  /** The doas to run, a name or path. Default `doas`. */
  readonly doasPath?: string;
  /** More arguments for doas. */
  readonly doasArgs?: readonly string[];
}

const RULES: readonly ExitRule[] = [
  { reason: 'AUTH_FAILED', says: 'doas asks for a password: give the option password', phase: 'authentication', text: /doas: Authentication required|doas: Authorization required/ },
  { reason: 'AUTH_FAILED', says: 'doas did not accept the option password', phase: 'authentication', text: /doas: Auth(?:entication|orization) failed/ },
  { reason: 'TTY_REQUIRED', says: 'doas found no terminal to ask for the password on', phase: 'authentication', text: /doas: a tty is required/ },
  { reason: 'PERMISSION_DENIED', says: 'doas does not allow it: look at doas.conf', phase: 'authentication', text: /doas: Operation not permitted/ },
  { reason: 'PERMISSION_DENIED', says: 'doas is not configured or not installed as it must be', phase: 'authentication', text: /doas: (?:doas is not enabled|not installed setuid|.*doas\.conf)/ },
  { reason: 'USER_UNKNOWN', says: 'doas knows no such account: check the option username', phase: 'authentication', text: /doas: unknown user/ },
];

/** Another account of this machine, by doas. */
export const doas: CommandMethod<DoasOptions> = {
  plan: ({ username = 'root', password, doasPath = 'doas', doasArgs }) => {
    const check = new OptionCheck('doas');
    const answer = check.secret('password', password);
    return {
      argv: [check.text('doasPath', doasPath), ...(answer === undefined ? ['-n'] : []), '-u', check.name('username', username), ...check.list('doasArgs', doasArgs), '--'],
      stage: 'argv',
      programOption: 'doasPath',
      ...(answer !== undefined && { tty: 'asks' as const, prompts: [{ pattern: /doas \([^\n]{1,200}\) password: ?$|^\r?Password: ?$/, answer, option: 'password' }] }),
      rules: RULES,
    };
  },
  again: () => 'search',
};
