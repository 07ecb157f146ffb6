// Runs a smoke test with every version of Node as the master of children of every version: node tools/node-matrix.js
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { installedNodes } from './installed.js';

const tool = (name) => fileURLToPath(new URL(name, import.meta.url));
const { nodes, problem } = installedNodes();
if (problem !== undefined) throw new Error(problem);
let passed = 0;
let failed = 0;

function run(what, ...command) {
  try {
    execFileSync(command[0], command.slice(1), { stdio: ['ignore', 'inherit', 'inherit'], timeout: 60_000 });
    passed++;
  } catch (error) {
    failed++;
    console.error(`${what}: ${error.message}`);
  }
}

for (const master of nodes) {
  run(`Node ${master.version} looks for functions`, master.path, '--disable-warning=ExperimentalWarning', tool('find-functions.mjs'));
  for (const child of nodes) run(`Node ${master.version} as master, ${child.version} as child`, master.path, tool('smoke.mjs'), child.path);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
