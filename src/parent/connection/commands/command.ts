import type { Secret } from '../../../core/wire/secret.ts';
import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck, badOption } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context behind a command of your own. */
export interface CommandOptions {
  /**
   * The program and its arguments. What is run there comes behind them; the program must pass stdin, stdout and stderr on
   * as they are, and end when what it runs ends. Example: `['ip', 'netns', 'exec', 'blue']`.
   */
  readonly argv: readonly string[];
  /**
   * How the program takes what it is to run: `argv`, as the words `sh`, `-c` and a script; or `line`, as one argument that a
   * shell reads, like `ssh` and `su -c`. Default `argv`.
   */
  readonly takes?: 'argv' | 'line';
  /** Changes to its environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What it asks for when {@link prompt} shows up. */
  readonly password?: string | Secret;
  /** The text of its prompt for the password: the end of what it shows before it waits, such as `Password: `. */
  readonly prompt?: string;
  /**
   * `false`: it has no terminal, asks on stderr, and reads the password from stdin. `true`: it asks on a terminal, which
   * script(1) makes; stdin and stdout stay off it. Default false.
   */
  readonly tty?: boolean;
}

function checkEnv(env: unknown): Readonly<Record<string, string | undefined>> {
  const values = typeof env === 'object' && env !== null ? Object.values(env) : [env];
  if (!values.every((value) => value === undefined || (typeof value === 'string' && !value.includes('\0')))) throw badOption('command', 'env', 'an object of texts');
  return env as Readonly<Record<string, string | undefined>>;
}

const RULES: readonly ExitRule[] = [
  { reason: 'TARGET_MISSING', says: 'there is no such network namespace', phase: 'command', text: /Cannot open network namespace/ },
];

/** Whatever a command of the user's own leads to. */
export const command: CommandMethod<CommandOptions> = {
  plan: ({ argv, takes = 'argv', env = {}, password, prompt, tty }) => {
    const check = new OptionCheck('command');
    const words = check.list('argv', argv);
    if (words.length === 0) throw badOption('command', 'argv', 'a list of at least one text');
    const answer = check.secret('password', password);
    if (answer !== undefined && prompt === undefined) throw badOption('command', 'prompt', 'given where there is a password');
    return {
      argv: [check.text('argv', words[0]), ...words.slice(1)],
      stage: check.oneOf('takes', takes, ['argv', 'line']),
      programOption: 'argv',
      env: checkEnv(env),
      tty: check.flag('tty', tty) ? 'asks' : undefined,
      prompts: prompt === undefined ? [] : [check.prompt('prompt', prompt, answer)],
      rules: RULES,
    };
  },
  // Nobody knows what a second start would do, so it has to be asked for.
  again: () => 'ship',
};
