import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { Page } from './support/page-examples.ts';
import { watchForLeaks } from './support/tree.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = new Page('README.md');
const readme = page.text;

const names = page.examples;

// The package as a user gets it: these run against dist, which `npm test` has built.
describe('the README', () => {
  watchForLeaks();

  it('has examples', () => {
    expect(names).toEqual(['first', 'tour', 'services', 'handles', 'streams', 'onefile', 'tree', 'remote']);
  });

  it.each(names)('shows what its example "%s" prints', async (name) => {
    const expected = page.expected(name)?.replace('on Node 20', `on Node ${process.versions.node.split('.')[0] ?? ''}`);
    expect(await page.run(name)).toBe(expected);
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
