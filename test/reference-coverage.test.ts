import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(root, 'docs', 'reference-coverage.md'), 'utf8');

/** Rows of the table: the number of a behaviour, what it is, and what stands for it here. */
const rows = page.split('\n').flatMap((line) => {
  const [, number, behaviour, tests] = /^\| (\d+) \| (.*) \| (.*) \|$/.exec(line) ?? [];
  return number === undefined ? [] : [{ number: Number(number), behaviour: behaviour ?? '', tests: tests ?? '' }];
});

/** The numbers that a title names, `(REFERENCE 6, 50-63, S1)`; other things that are cited there are none. */
function numbersIn(title: string): number[] {
  return [...title.matchAll(/REFERENCE ([^)]*)/g)].flatMap(([, list = '']) => list.split(', ')).flatMap((item) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(item) ?? [];
    return first === undefined ? [] : Array.from({ length: Number(last) - Number(first) + 1 }, (_unused, index) => Number(first) + index);
  });
}

/** Why a cell is wrong, or undefined: no line of the file has that title and that number. */
function problemOf(number: number, test: string): string | undefined {
  const [, file = '', title = ''] = /^`([^`]+)`: (.+)$/.exec(test) ?? [];
  if (title === '') return `${String(number)}: not a file and a title: ${test}`;
  if (!existsSync(join(root, file))) return `${String(number)}: there is no ${file}`;
  const lines = readFileSync(join(root, file), 'utf8').split('\n');
  return lines.some((line) => line.includes(title) && numbersIn(line).includes(number)) ? undefined : `${String(number)}: no title in ${file} has that number and: ${title}`;
}

describe('docs/reference-coverage.md', () => {
  it('has rows in the order of their numbers, each once', () => {
    const numbers = rows.map(({ number }) => number);
    expect(numbers.length).toBeGreaterThan(60);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(page.split('\n').filter((line) => /^\| *\d/.test(line))).toHaveLength(rows.length);
  });

  it('names tests that are there and that name the number, or says why there is none', () => {
    const tests = rows.flatMap(({ number, tests }) => (/^does not apply: \S.*\.$/.test(tests) ? [] : tests.split('<br>').map((test) => [number, test] as const)));
    expect(tests.flatMap(([number, test]) => problemOf(number, test) ?? [])).toEqual([]);
  });

  it('says what each behaviour is', () => {
    expect(rows.filter(({ behaviour }) => behaviour.trim() === '')).toEqual([]);
  });
});
