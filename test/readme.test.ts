import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { watchForLeaks } from './support/tree.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** The fenced blocks between a comment and the next one. */
function blocks(comment: string): string[] {
  const at = readme.indexOf(`<!-- ${comment} -->`);
  if (at < 0) return [];
  const end = readme.indexOf('<!--', at + 4);
  return [...readme.slice(at, end < 0 ? undefined : end).matchAll(/```\w+\n([^]*?)```/g)].map(([, text]) => text ?? '');
}

const names = [...readme.matchAll(/<!-- example: (\w+) -->/g)].map(([, name]) => name ?? '');

// The package as a user gets it: these run against dist, which `npm test` has built.
describe('the README', () => {
  watchForLeaks();

  it('has examples', () => {
    expect(names).toEqual(['first', 'tour', 'handles', 'onefile', 'tree']);
  });

  it.each(names)('shows what its example "%s" prints', async (name) => {
    const directory = mkdtempSync(join(tmpdir(), 'tendril-readme-'));
    try {
      mkdirSync(join(directory, 'node_modules'));
      symlinkSync(root, join(directory, 'node_modules/tendril'));
      symlinkSync(join(root, 'node_modules/rxjs'), join(directory, 'node_modules/rxjs'));
      let main = '';
      for (const block of blocks(`example: ${name}`)) {
        const file = /^\/\/ ([\w-]+\.mjs)/.exec(block)?.[1];
        if (file === undefined) continue;
        writeFileSync(join(directory, file), block);
        main = file;
      }
      const { stdout } = await promisify(execFile)(process.execPath, [main], { cwd: directory });
      const [expected] = blocks(`output: ${name}`);
      expect(stdout).toBe(expected?.replace('on Node 20', `on Node ${process.versions.node.split('.')[0] ?? ''}`));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('begins with the two commands, which exist', () => {
    const [demo, test] = readme.matchAll(/^ {4}npm ci && npm (?:run )?(\w+)$/gm);
    expect([demo?.[1], test?.[1]]).toEqual(['demo', 'test']);
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    expect(scripts).toMatchObject({ demo: expect.any(String) as unknown, test: expect.any(String) as unknown, bench: expect.any(String) as unknown });
  });

  it('links to pages that are there', () => {
    for (const [, path = ''] of readme.matchAll(/\]\(([^)#]+)\)/g)) expect(() => readFileSync(join(root, path))).not.toThrow();
  });
});
