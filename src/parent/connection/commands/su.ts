import type { Secret } from '../../../core/wire/secret.ts';
import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context of another account, through su. */
export interface SuOptions {
  /** Account to become. Default `root`. */
  readonly username?: string;
  /** Password of that account. Default: su must not ask, as for root. */
  readonly password?: string | Secret;
  /** Begin as a login does: home directory, environment, profile (`-`). Default false. */
  readonly login?: boolean;
  /** Shell to use instead of the account's own (`-s`), for accounts that have none, such as `/bin/sh`. */
  readonly shell?: string;
  /** The prompt of a PAM module that does not ask `Password: `: the text, as it is shown. */
  readonly prompt?: string;
  /** The su to run, a name or path. Default `su`. */
  readonly suPath?: string;
}

const RULES: readonly ExitRule[] = [
  { reason: 'AUTH_FAILED', says: 'su did not let us in: check the option password', phase: 'authentication', text: /su: (?:Authentication (?:failure|information cannot be recovered)|incorrect password|Cannot make\/remove an entry)|su: [Ss]orry/ },
  { reason: 'USER_UNKNOWN', says: 'su knows no such account: check the option username', phase: 'authentication', text: /su: user \S+ does not exist|su: unknown user|su: unknown login/ },
  { reason: 'PERMISSION_DENIED', says: 'su does not allow it', phase: 'authentication', text: /su: [Pp]ermission denied|su: must be suid to work properly|su: must be run from a terminal/ },
];

/** Another account of this machine, by su. Without a terminal, su reads the password from its standard input. */
export const su: CommandMethod<SuOptions> = {
  plan: ({ username = 'root', password, login, shell, prompt = 'Password: ', suPath = 'su' }) => {
    const check = new OptionCheck('su');
    const answer = check.secret('password', password);
    return {
      argv: [
        check.text('suPath', suPath),
        ...(check.flag('login', login) ? ['-'] : []),
        ...(shell === undefined ? [] : ['-s', check.text('shell', shell)]),
        check.name('username', username),
        '-c',
      ],
      stage: 'line',
      programOption: 'suPath',
      // Prompts and messages of PAM in the language in which they are known; nothing else changes.
      env: { LANGUAGE: 'C' },
      prompts: [check.prompt('prompt', prompt, answer)],
      rules: RULES,
    };
  },
  again: () => 'search',
};
