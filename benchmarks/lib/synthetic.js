// A package of many modules, the same in JavaScript and in Python: each module imports the two below it, as in a heap.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const LINES = 60;

/** Writes the package; `url` and `module` name its root, whose `loaded()` gives the sum of all indices. */
export function synthetic(count) {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-bench-package-'));
  const name = (index) => `part${String(index).padStart(3, '0')}`;
  mkdirSync(join(directory, 'js'));
  mkdirSync(join(directory, 'python/bench_package'), { recursive: true });
  writeFileSync(join(directory, 'python/bench_package/__init__.py'), '');
  for (let index = 0; index < count; index++) {
    const below = [2 * index + 1, 2 * index + 2].filter((other) => other < count).map(name);
    const sum = [String(index), ...below.map((other) => `${other}.loaded()`)].join(' + ');
    writeFileSync(join(directory, `js/${name(index)}.mjs`), [
      ...below.map((other) => `import * as ${other} from './${other}.mjs';`),
      ...filler((line) => `export function step${line}(value, other = ${line}) { return value * ${index + line} + other; }`),
      `export function loaded() { return ${sum}; }`, '',
    ].join('\n'));
    writeFileSync(join(directory, `python/bench_package/${name(index)}.py`), [
      ...below.map((other) => `from bench_package import ${other}`),
      ...filler((line) => `def step${line}(value, other=${line}): return value * ${index + line} + other`),
      `def loaded(): return ${sum}`, '',
    ].join('\n'));
  }
  return {
    url: pathToFileURL(join(directory, `js/${name(0)}.mjs`)).href,
    python: { directory: join(directory, 'python'), module: `bench_package.${name(0)}` },
    close: () => { rmSync(directory, { recursive: true }); },
  };
}

const filler = (line) => Array.from({ length: LINES }, (_, index) => line(index));
