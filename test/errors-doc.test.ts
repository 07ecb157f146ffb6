import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { CONNECT_REASONS } from '../src/parent/connection/connect-error.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** All sources of the library in one text. */
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(root, 'src', name), 'utf8'))
  .join('\n');
const page = readFileSync(join(root, 'docs', 'errors.md'), 'utf8');

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}

/** The members of a union of string literals. */
function unionOf(name: string): string[] {
  const [, body] = new RegExp(`export type ${name} =([^;]*);`).exec(sources) ?? [];
  return [...(body ?? '').matchAll(/'([^']+)'/g)].map(([, member]) => member ?? '');
}

/** First cells of a table's rows, or the second ones, that are code. */
function cells(column: number): string[] {
  return page.split('\n').flatMap((line) => {
    const cell = line.startsWith('|') ? (line.split('|')[column] ?? '') : '';
    return [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code ?? '');
  });
}

const rows = cells(2).filter((code) => code.startsWith('ERR_TENDRIL_'));

describe('docs/errors.md', () => {
  it('has a row for every code in src, and no other', () => {
    const written = [...sources.matchAll(/ERR_TENDRIL_[A-Z0-9_]+/g)].map(([code]) => code);
    const connecting = CONNECT_REASONS.map((reason) => `ERR_TENDRIL_${reason}`);
    expect(connecting.length).toBeGreaterThan(10);
    expect(unique(rows)).toEqual(unique([...written, ...connecting]));
  });

  it('says in every row what class it is, what causes it and what to do', () => {
    for (const line of page.split('\n').filter((text) => text.includes('| `ERR_TENDRIL_'))) {
      const [, kind, , cause, remedy] = line.split('|').map((cell) => cell.trim());
      for (const name of (kind ?? '').split(', ')) expect(sources).toContain(`export class ${name} `);
      expect(cause).not.toBe('');
      expect(remedy).not.toBe('');
    }
  });

  it('has a row for every reason of a dead message', () => {
    const reasons = unionOf('DeadReason');
    expect(reasons.length).toBeGreaterThan(5);
    expect(unique(cells(1).filter((text) => /^[a-z-]+$/.test(text)))).toEqual(unique(reasons));
  });

  it('has no code twice for one class', () => {
    const pairs = page.split('\n').flatMap((line) => (line.includes('| `ERR_TENDRIL_') ? [line.split('|').slice(1, 3).join('|')] : []));
    expect(unique(pairs)).toHaveLength(pairs.length);
  });
});
