// Finds the functions of the test's fixtures with the Node that runs it; those of TypeScript where that Node runs it.
import assert from 'node:assert';
import { callersOf, findFunction } from '../dist/master/modules/function-finder.js';
import { cases, run } from '../test/fixtures/finder/cases.mjs';

const found = run({ callersOf, findFunction });
for (const [index, [label, , file, place]] of cases.entries()) assert.deepEqual(found[index], [file, place], label);
assert.equal(globalThis.finderTrap, undefined);
if (process.features.typescript) {
  const typescript = await import('../test/fixtures/finder/ts/probe.ts');
  const names = typescript.run({ callersOf, findFunction });
  assert.deepEqual(names.slice(0, 5), ['tasks.ts plain', 'tasks.ts arrow', 'tasks.ts default', 'tasks.ts renamed', 'tasks.ts Svc.ping']);
}
console.log(`master ${process.version}: functions found, ${process.features.typescript ? 'also' : 'but none'} of TypeScript`);
