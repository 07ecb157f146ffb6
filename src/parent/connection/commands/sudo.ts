import type { Secret } from '../../../core/wire/secret.ts';
import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod, PromptRule } from './plan.ts';

/** Options of a context of another account, through sudo. */
export interface SudoOptions {
  /** Account to become. Default `root`. */
  readonly username?: string;
  /** Password that sudo asks for, which is mostly that of the account which runs this process. Default: sudo must not ask. */
  readonly password?: string | Secret;
  /** Keep the environment of this process (`-E`), where sudoers allows it. Default false. */
  readonly preserveEnv?: boolean;
  /** Set HOME to that of the account (`-H`). Most sudoers do so anyway. Default false. */
  readonly setHome?: boolean;
  /** Begin in the home directory, in the login shell of the account and with its environment (`-i`). Default false. */
  readonly login?: boolean;
  /** Give sudo a terminal, made by script(1), because sudoers has `requiretty`. Default false. */
  readonly tty?: boolean;
  /** The sudo to run, a name or path. Default `sudo`. */
  readonly sudoPath?: string;
  /** More arguments for sudo, such as `['-r', 'unconfined_r']`. */
  readonly sudoArgs?: readonly string[];
}

/** The prompt that we ask sudo to use, so that no translation is in the way. */
export const SUDO_PROMPT = 'tendril-sudo-prompt:';

const RULES: readonly ExitRule[] = [
  { reason: 'TTY_REQUIRED', says: 'sudo there wants a terminal (requiretty): set the option tty', phase: 'authentication', text: /sudo: sorry, you must have a tty to run sudo/ },
  { reason: 'AUTH_FAILED', says: 'sudo did not accept the option password', phase: 'authentication', text: /Sorry, try again\.|incorrect password attempt/ },
  { reason: 'AUTH_FAILED', says: 'sudo asks for a password: give the option password', phase: 'authentication', text: /sudo: a password is required|sudo: a terminal is required to read the password|sudo: no password was provided/ },
  { reason: 'PERMISSION_DENIED', says: 'sudo does not allow it: look at sudoers', phase: 'authentication', text: /is not in the sudoers file|is not allowed to (?:execute|run sudo)|may not run sudo|you are not permitted to use the -\w option|you are not allowed to preserve the environment/ },
  { reason: 'PERMISSION_DENIED', says: 'sudo cannot become another account here: this process may get no new privileges (a container, or NoNewPrivileges of systemd)', phase: 'authentication', text: /The "no new privileges" flag is set|sudo: effective uid is not 0/ },
  { reason: 'USER_UNKNOWN', says: 'sudo knows no such account: check the option username', phase: 'authentication', text: /sudo: unknown user:? / },
  { reason: 'BAD_OPTION', says: 'this sudo does not take these arguments: check sudoArgs', phase: 'command', text: /sudo: (?:invalid|unrecognized|illegal) option|^usage: sudo /m },
];

/** The prompt comes as it is from sudo, and as `[sudo: prompt] Password: ` (in the local language) from sudo-rs. */
function prompt(password: string | Secret | undefined): PromptRule {
  return { pattern: new RegExp(SUDO_PROMPT), hidden: new RegExp(`(?:\\[sudo: )?${SUDO_PROMPT}(?:\\][^*\\n]{0,50}?: ?)?`, 'g'), answer: password, option: 'password' };
}

/** Another account of this machine, by sudo. */
export const sudo: CommandMethod<SudoOptions> = {
  plan: ({ username = 'root', password, preserveEnv, setHome, login, tty, sudoPath = 'sudo', sudoArgs }) => {
    const check = new OptionCheck('sudo');
    const answer = check.secret('password', password);
    return {
      argv: [
        check.text('sudoPath', sudoPath),
        // Standard input also with a terminal: a password that is typed before the echo is off would be shown.
        answer === undefined ? '-n' : '-S',
        '-p', SUDO_PROMPT,
        '-u', check.name('username', username),
        ...(check.flag('preserveEnv', preserveEnv) ? ['-E'] : []),
        ...(check.flag('setHome', setHome) ? ['-H'] : []),
        ...(check.flag('login', login) ? ['-i'] : []),
        ...check.list('sudoArgs', sudoArgs),
        '--',
      ],
      stage: 'argv',
      programOption: 'sudoPath',
      tty: check.flag('tty', tty) ? 'wants' : undefined,
      prompts: [prompt(answer)],
      rules: RULES,
    };
  },
  // What -i makes of a command no variable survives; and with our HOME another account would run what we have there.
  again: ({ preserveEnv, login }) => (login === true ? 'none' : preserveEnv === true ? 'ship' : 'search'),
};
