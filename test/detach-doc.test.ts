import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { withSockets } from './support/outlived.ts';
import { watchForLeaks } from './support/tree.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(root, 'docs', 'detach.md'), 'utf8');

/** Versions that do not know `await using` do what it stands for at the end. */
function withoutUsing(text: string): string {
  const [, name, method] = /await using (\w+) = (?:new|await) (\w+)/.exec(text) ?? [];
  return name === undefined ? text : `${text.replace('await using', 'const')}\nawait ${name}.${method === 'Master' ? 'shutdown' : 'close'}();\n`;
}

describe('docs/detach.md', () => {
  watchForLeaks();

  it(
    'has examples that work',
    withSockets(async (directory) => {
      mkdirSync(join(directory, 'node_modules'));
      symlinkSync(root, join(directory, 'node_modules/tendril'));
      symlinkSync(join(root, 'node_modules/rxjs'), join(directory, 'node_modules/rxjs'));
      const examples = [...page.matchAll(/<!-- example: ([\w.]+) -->\n```js\n([^]*?)```/g)];
      expect(examples.map(([, name]) => name)).toEqual(['tasks.mjs', 'begin.mjs', 'later.mjs']);
      for (const [, name = '', text = ''] of examples) writeFileSync(join(directory, name), withoutUsing(text));
      const run = async (name: string): Promise<string> => (await promisify(execFile)(process.execPath, [name], { cwd: directory, env: { ...process.env, XDG_RUNTIME_DIR: directory } })).stdout;
      expect(await run('begin.mjs')).toBe('detached; this program ends\n');
      expect(await run('later.mjs')).toBe('it has counted\n');
    }),
  );
});
