import { printable } from '../classify-exit.ts';
import { ConnectError } from '../connect-error.ts';
import type { PromptRule } from './plan.ts';

/** How much of an unfinished line is searched for a prompt, in characters. */
const MAX_TAIL = 1024;
/** How much of an unfinished line is held back from the log, in characters. */
const MAX_HELD = 65_536;

/** What is to be done about a piece of output. */
export interface PromptStep {
  /** Lines for the log, without prompts. */
  readonly output: string;
  /** What to write to the tool; one that has been answered already is not answered again. */
  readonly answers: readonly PromptRule[];
  /** The connection cannot come up any more. */
  readonly refusal?: ConnectError;
}

const NOTHING: PromptStep = { output: '', answers: [] };

/**
 * Decides about the prompts of a tool: the first of each rule is answered, and where there is no answer, or a prompt
 * comes again, the connection has failed. It knows neither processes nor time.
 *
 * Texts are latin1, so that bytes pass through unchanged.
 */
export class Prompter {
  readonly #tool: string;
  readonly #rules: readonly PromptRule[];
  readonly #answered = new Set<PromptRule>();
  /** What came since the last line end or prompt. */
  #tail = '';
  /** The unfinished line for the log. */
  #held = '';
  #over = false;

  /** @param tool - for messages, such as `sudo` */
  constructor(tool: string, rules: readonly PromptRule[]) {
    this.#tool = tool;
    this.#rules = rules;
  }

  /** Takes a piece of what the tool writes. */
  push(text: string): PromptStep {
    if (this.#over) return { output: text, answers: [] };
    const answers: PromptRule[] = [];
    let refusal: ConnectError | undefined;
    let rest = text;
    while (rest !== '' && refusal === undefined) {
      const end = rest.indexOf('\n') + 1;
      const line = end === 0 ? rest : rest.slice(0, end);
      rest = rest.slice(line.length);
      refusal = this.#look(line, answers);
      if (end > 0) this.#tail = '';
    }
    return { output: this.#hold(text), answers, ...(refusal && { refusal }) };
  }

  /** The first stage has answered, or the tool has ended: nothing is a prompt any more. Gives what was held back. */
  finish(): PromptStep {
    if (this.#over) return NOTHING;
    this.#over = true;
    return { output: this.#hide(this.#held), answers: [] };
  }

  #look(text: string, answers: PromptRule[]): ConnectError | undefined {
    this.#tail = (this.#tail + text).slice(-MAX_TAIL);
    for (;;) {
      const [rule, end] = this.#find();
      if (rule === undefined) return undefined;
      const asked = printable(this.#tail.slice(0, end).trim(), 200);
      this.#tail = this.#tail.slice(end);
      if (rule.answer === undefined) return refused(`${this.#tool} asks for a password ("${asked}"): give the option ${rule.option}`);
      if (this.#answered.has(rule)) return refused(`${this.#tool} did not accept the option ${rule.option}`);
      this.#answered.add(rule);
      answers.push(rule);
    }
  }

  /** The rule whose prompt comes first, and where it ends. */
  #find(): readonly [PromptRule | undefined, number] {
    let first: PromptRule | undefined;
    let at = Infinity;
    let end = 0;
    for (const rule of this.#rules) {
      const found = rule.pattern.exec(this.#tail);
      if (found === null || found.index >= at) continue;
      first = rule;
      at = found.index;
      end = found.index + found[0].length;
    }
    return [first, end];
  }

  /** Whole lines go out at once; a prompt is an unfinished one. */
  #hold(text: string): string {
    const all = this.#held + text;
    const end = all.length > MAX_HELD ? all.length : all.lastIndexOf('\n') + 1;
    this.#held = all.slice(end);
    return this.#hide(all.slice(0, end));
  }

  #hide(text: string): string {
    return this.#rules.reduce((left, { hidden }) => (hidden ? left.replace(hidden, '') : left), text);
  }
}

function refused(message: string): ConnectError {
  return new ConnectError('AUTH_FAILED', message, { phase: 'authentication' });
}
