import type { Secret } from '../../../core/wire/secret.ts';
import { ConnectError } from '../connect-error.ts';
import type { SecondStart } from '../../bootstrap/ladder.ts';
import type { ExitRule } from '../classify-exit.ts';

/** A question that a tool asks before it starts the first stage. */
export interface PromptRule {
  /** Looked for in what the tool has written since the last line end or the last prompt. */
  readonly pattern: RegExp;
  /** Leaves prompts out of what goes to the log; global. Not needed where the tool asks on a terminal. */
  readonly hidden?: RegExp;
  /** What to answer, without the line end. */
  readonly answer: string | Secret | undefined;
  /** The option that gives the answer, for messages. */
  readonly option: string;
}

/** What starts the first stage, and what may come of it: all that a connection method by a command has to say. */
export interface CommandPlan {
  /** The program and its arguments; the first stage comes behind them. */
  readonly argv: readonly string[];
  /** `argv`: the first stage is more arguments, `sh -c ...`. `line`: it is one argument, which a shell of any kind reads. */
  readonly stage: 'argv' | 'line';
  /** The option that names the program, for the message when it is not there. */
  readonly programOption: string;
  /** Changes to the environment of this process; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Runs it under a terminal of its own, made by script(1): because it `asks` there, or only `wants` to have one. */
  readonly tty?: 'asks' | 'wants' | undefined;
  readonly prompts?: readonly PromptRule[];
  /** Known texts of the tool; looked at before those that every method has in common. */
  readonly rules: readonly ExitRule[];
}

/** A connection method that starts a program on this machine: pure functions of its options, which are plain data. */
export interface CommandMethod<Options> {
  /** Throws a ConnectError BAD_OPTION that names the option. */
  readonly plan: (options: Options) => CommandPlan;
  /** What a second start, where the first found no Node, may do. */
  readonly again: (options: Options) => SecondStart;
}

/** An option that cannot work. */
export function badOption(method: string, name: string, wanted: string): ConnectError {
  return new ConnectError('BAD_OPTION', `the ${method} option ${name} must be ${wanted}`, { phase: 'command' });
}

/** Checks of the options of one method; each throws BAD_OPTION with the name of the option. */
export class OptionCheck {
  readonly #method: string;

  constructor(method: string) {
    this.#method = method;
  }

  /** A name that a tool cannot take for an option. */
  name(option: string, value: unknown): string {
    if (typeof value !== 'string' || value === '' || value.startsWith('-') || /[\s\p{Cc}]/u.test(value)) throw badOption(this.#method, option, 'a name, without spaces, that does not begin with "-"');
    return value;
  }

  /** A path, or another text that is one argument. */
  text(option: string, value: unknown): string {
    if (typeof value !== 'string' || value === '' || value.startsWith('-') || value.includes('\0')) throw badOption(this.#method, option, 'a text that is not empty and does not begin with "-"');
    return value;
  }

  /** Arguments that go to the tool as they are. */
  list(option: string, value: unknown): readonly string[] {
    if (value === undefined) return [];
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string' && !item.includes('\0'))) throw badOption(this.#method, option, 'a list of texts');
    return value as readonly string[];
  }

  flag(option: string, value: unknown): boolean {
    if (value !== undefined && typeof value !== 'boolean') throw badOption(this.#method, option, 'true or false');
    return value === true;
  }

  whole(option: string, value: unknown, least: number, most: number): number {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) throw badOption(this.#method, option, `a whole number from ${String(least)} to ${String(most)}`);
    return value;
  }

  oneOf<T extends string>(option: string, value: unknown, all: readonly T[]): T {
    if (!all.includes(value as T)) throw badOption(this.#method, option, all.map((one) => `'${one}'`).join(', '));
    return value as T;
  }

  /** A prompt by its text: an unfinished line that ends with it. */
  prompt(option: string, value: unknown, answer: string | Secret | undefined): PromptRule {
    // As it arrives: its bytes, each a character.
    const literal = Buffer.from(this.text(option, value), 'utf8').toString('latin1').replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    return { pattern: new RegExp(`${literal}$`), hidden: new RegExp(`^[^\\n]*?${literal}`, 'gm'), answer, option: 'password' };
  }

  /** A password or passphrase. A line end in it would be an answer of its own. */
  secret(option: string, value: unknown): string | Secret | undefined {
    if (value === undefined) return undefined;
    const text: unknown = typeof value === 'object' && value !== null && 'reveal' in value ? (value as Secret).reveal() : value;
    if (typeof text !== 'string' || text === '' || /[\n\r\0]/.test(text)) throw badOption(this.#method, option, 'a text or Secret, not empty and without line ends');
    return value as string | Secret;
  }
}
