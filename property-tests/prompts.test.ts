import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Prompter } from '../src/parent/connection/commands/prompter.ts';
import type { PromptRule } from '../src/parent/connection/commands/plan.ts';
import { sudo } from '../src/parent/connection/commands/sudo.ts';

/** Pieces of a text, cut at the given places. */
function cut(text: string, places: readonly number[]): string[] {
  const at = [...new Set([0, text.length, ...places.map((place) => place % (text.length + 1))])].sort((a, b) => a - b);
  return at.slice(1).map((end, index) => text.slice(at[index], end));
}

/** What a prompter makes of a text that arrives in pieces. */
function run(rules: readonly PromptRule[], pieces: readonly string[]): { output: string; answers: number; refusal: string | undefined } {
  const prompter = new Prompter('sudo', rules);
  let output = '';
  let answers = 0;
  let refusal: string | undefined;
  for (const piece of pieces) {
    const step = prompter.push(piece);
    output += step.output;
    answers += step.answers.length;
    refusal ??= step.refusal?.message;
  }
  return { output: output + prompter.finish().output, answers, refusal };
}

const rules = sudo.plan({ password: 'secret' }).prompts ?? [];
const PROMPT = 'tendril-sudo-prompt:';

describe('prompts', () => {
  const words = fc.constantFrom('tendril-sudo', 'prompt:', PROMPT, `[sudo: ${PROMPT}] Password: `, `[sudo: ${PROMPT}] Mot de passe\u00a0: `, Buffer.from(`[sudo: ${PROMPT}] \u5bc6\u7801: `).toString('latin1'), '\n', '*', 'Sorry, try again.\n', 'lecture ', ':', ' ');
  const text = fc.array(words, { maxLength: 12 }).map((list) => list.join(''));

  it('are found wherever the output is cut, answered once, and never logged (REFERENCE 223)', () => {
    fc.assert(fc.property(text, fc.array(fc.nat(), { maxLength: 20 }), (all, places) => {
      const whole = run(rules, [all]);
      expect(run(rules, cut(all, places))).toEqual(whole);
      const count = all.split(PROMPT).length - 1;
      expect(whole.answers).toBe(Math.min(count, 1));
      expect(whole.refusal !== undefined).toBe(count > 1);
      expect(whole.output).not.toContain(PROMPT);
      expect(whole.output.split('\n')).toHaveLength(all.split('\n').length);
    }));
  });

  it('leave everything else as it is', () => {
    fc.assert(fc.property(fc.string(), fc.array(fc.nat(), { maxLength: 20 }), (all, places) => {
      expect(run(rules, cut(all, places))).toEqual({ output: all, answers: 0, refusal: undefined });
    }));
  });

  it('are not looked for any more once the first stage has answered', () => {
    const prompter = new Prompter('sudo', rules);
    prompter.finish();
    expect(prompter.push(PROMPT)).toEqual({ output: PROMPT, answers: [] });
  });

  it('of an endless line take no memory without end', () => {
    const prompter = new Prompter('sudo', rules);
    let output = 0;
    for (let index = 0; index < 1000; index++) output += prompter.push('x'.repeat(1000)).output.length;
    expect(output).toBeGreaterThan(900_000);
  });
});
