// Checks the direction of imports: master -> parent -> core, nothing in a circle (docs/decisions.md, D-002).
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'es-module-lexer';

const root = fileURLToPath(new URL('../', import.meta.url));

/** From, to, and why not. The first is matched against our files, the second against our files and package names. */
const FORBIDDEN = [
  [/^src\/core\//, /^src\/(?!core\/)/, 'core knows nobody'],
  [/^src\/parent\//, /^src\/(?!core\/|flow\/|importer\/|parent\/|remote\/)/, 'parent knows core, streams, the importer and what it has others do only'],
  [/^src\/importer\//, /^src\/(?!core\/|importer\/)/, 'the importer knows core only'],
  [/^src\/importer\//, /^(?!src\/|node:)/, 'the importer is shipped: builtins are all that it may have'],
  [/^src\/(?!testing\/)/, /^src\/testing\//, 'the library does not need its test kit'],
  [/^src\/core\//, /^(?!src\/|node:|rxjs$|cbor-x\/)/, 'core is shipped: rxjs, cbor-x and builtins are all that it may have'],
  [/^src\/(?!parent\/connection\/ssh\/|testing\/)/, /^ssh2$/, 'ssh2 is optional and has one room'],
  [/^src\/core\/(?!broker\/virtual)/, /^src\/core\/broker\/virtual/, 'virtual time is not shipped'],
];

const files = readdirSync(join(root, 'src'), { recursive: true }).filter((name) => name.endsWith('.ts')).map((name) => `src/${name}`);
const graph = new Map();
const faults = [];
for (const file of files) {
  const edges = [];
  for (const { specifier, typeOnly } of parse(readFileSync(join(root, file), 'utf8'))[0]) {
    if (typeof specifier !== 'string') continue;
    const target = specifier.startsWith('.') ? relative(root, resolve(root, dirname(file), specifier)) : specifier;
    edges.push({ target, typeOnly: typeOnly === true });
    // What the importer takes of core at run time would be in a child twice.
    if (/^src\/importer\//.test(file) && /^src\/core\//.test(target) && typeOnly !== true) faults.push(`${file} imports ${target}: types only, the rest comes from its host`);
    // What is sent to contexts as a module of its own.
    if (/^src\/remote\//.test(file) && !/^(?:src\/remote\/|node:)/.test(target) && typeOnly !== true) faults.push(`${file} imports ${target}: types only, what it needs of the core it asks its context for`);
    for (const [from, to, why] of FORBIDDEN) if (from.test(file) && to.test(target)) faults.push(`${file} imports ${target}: ${why}`);
    if (target.startsWith('src/') && !files.includes(target)) faults.push(`${file} imports ${target}, which is not there`);
  }
  graph.set(file, edges);
}

const done = new Set();
function walk(file, path) {
  if (path.includes(file)) {
    faults.push(`a circle: ${[...path.slice(path.indexOf(file)), file].join(' -> ')}`);
    return;
  }
  if (done.has(file)) return;
  for (const { target, typeOnly } of graph.get(file) ?? []) if (!typeOnly) walk(target, [...path, file]);
  done.add(file);
}
for (const file of files) walk(file, []);

const edges = [...graph.values()].reduce((sum, list) => sum + list.length, 0);
if (files.length < 20 || edges < 100) faults.push('hardly any import was found: the check itself is broken');
for (const fault of faults) console.error(fault);
console.log(`imports: ${files.length} files, ${edges} imports, ${faults.length} faults`);
process.exitCode = faults.length > 0 ? 1 : 0;
