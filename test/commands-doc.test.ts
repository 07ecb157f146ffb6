import { describe, expect, it } from '@jest/globals';
import { Page } from './support/page-examples.ts';
import { watchForLeaks } from './support/tree.ts';

const page = new Page('docs/commands.md');

describe('docs/commands.md', () => {
  watchForLeaks();

  it('has examples', () => {
    expect(page.examples).toEqual(['run']);
  });

  it.each(page.examples)('shows what its example "%s" prints', async (name) => {
    expect(await page.run(name)).toBe(page.expected(name));
  });
});
