// Builds the package: dist from src by the compiler, the core of the children, and the codec bundled in, so that a user
// installs none of its optional native parts.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (script, ...args) => execFileSync(process.execPath, [script, ...args], { cwd: root, stdio: 'inherit' });

rmSync(`${root}dist`, { recursive: true, force: true });
run('node_modules/@typescript/native/bin/tsc', '-p', 'tsconfig.build.json');
await build({
  absWorkingDir: root,
  entryPoints: ['src/core/wire/cbor.ts'],
  outfile: 'dist/core/wire/cbor.js',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  legalComments: 'inline',
});
// The examples, for `npm run demo`: TypeScript becomes JavaScript, imports stay as they are.
await build({
  absWorkingDir: root,
  entryPoints: ['examples/*.ts'],
  outdir: 'dist-examples',
  format: 'esm',
  target: 'node20',
});
run('tools/build-core.js');
