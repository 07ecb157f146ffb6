// Tries the package as a new user does: packs it, installs it in a fresh directory, runs the README's first example.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const directory = mkdtempSync(join(tmpdir(), 'tendril-package-'));
try {
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', directory], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  const [tarball] = readdirSync(directory);
  writeFileSync(join(directory, 'package.json'), '{ "private": true, "type": "module" }');
  const install = spawnSync('npm', ['install', '--no-audit', '--no-fund', `./${tarball}`, 'rxjs@7'], { cwd: directory, encoding: 'utf8' });
  if (install.status !== 0) throw new Error(`npm install failed: ${install.stderr}`);
  if (/install.scripts?/i.test(install.stderr + install.stdout)) throw new Error(`npm speaks of install scripts: ${install.stderr}`);
  const example = readme.slice(readme.indexOf('<!-- example: first -->'), readme.indexOf('<!-- output: first -->'));
  for (const [, text] of example.matchAll(/```js\n([^]*?)```/g)) writeFileSync(join(directory, /^\/\/ ([\w-]+\.mjs)/.exec(text)[1]), text);
  const output = execFileSync(process.execPath, ['main.mjs'], { cwd: directory, encoding: 'utf8' });
  if (!output.includes('hello world, from process tendril:kid')) throw new Error(`the example printed: ${output}`);
  execFileSync(process.execPath, ['-e', "if (typeof require('tendril').Master !== 'function') process.exit(1)"], { cwd: directory });
  console.log(`package: ${tarball} installs without install scripts, and the first example runs`);
} finally {
  rmSync(directory, { recursive: true });
}
