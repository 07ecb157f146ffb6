import { describe, expect, it } from '@jest/globals';
import { Page } from './support/page-examples.ts';
import { watchForLeaks } from './support/tree.ts';

const page = new Page('docs/files.md');

describe('docs/files.md', () => {
  watchForLeaks();

  it('has examples', () => {
    expect(page.examples).toEqual(['files']);
  });

  it.each(page.examples)('shows what its example "%s" prints', async (name) => {
    expect(await page.run(name)).toBe(page.expected(name));
  });
});
