// Builds dist/core.deflate, what a child boots with: src/core bundled, minified and compressed, and checks its size.
import { mkdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import zopfli from '@gfx/zopfli';
import { build } from 'esbuild';
import { deflateRaw } from 'pako';
import { minify } from 'terser';

const BUDGET = 40 * 1024;
const root = fileURLToPath(new URL('..', import.meta.url));

const { outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: ['src/core/child/external-context.ts'],
  bundle: true,
  write: false,
  minify: true,
  // `node` would select RxJS's CommonJS build, of which nothing can be shaken off.
  platform: 'neutral',
  conditions: ['es2015', 'import'],
  mainFields: ['module', 'main'],
  external: ['node:*'],
  format: 'cjs',
  target: 'node20',
  charset: 'ascii',
  legalComments: 'none',
});
const source = outputFiles[0].text;
// The first stage calls this with `require` and the compressed core; the broker thread adds what it is to do. With null
// nothing runs: so a master warms the code that it makes a code cache of.
const wrapped = `(function(require,core,thread){var module={exports:{}},exports=module.exports;${source};if(thread!==null)module.exports.run(core,thread)})`;
// zopfli: 3.4 % smaller than the best of zlib, in half a second here, and inflated as fast. Compiled to WebAssembly, so that
// its output is the same on every platform and version of Node.
const zopfliOf = async (text) => Buffer.from(await promisify(zopfli.deflate)(Buffer.from(text), { numiterations: 15, blocksplitting: true, blocksplittingmax: 30 }));
// terser after esbuild: 5 % less to send, mostly because its short names repeat.
const { code } = await minify(wrapped, { ecma: 2020, compress: { expression: true, passes: 3 }, format: { ascii_only: true, comments: false } });
const core = code.replace(/;$/, '');
const compressed = await zopfliOf(core);
mkdirSync(`${root}dist`, { recursive: true });

// The importers, which the master sends ahead of the first module: bodies of functions of `require` and `host`.
for (const profile of ['native', 'rendered']) {
  const part = await build({
    absWorkingDir: root,
    entryPoints: [`src/importer/${profile}.ts`],
    bundle: true,
    write: false,
    minify: true,
    platform: 'neutral',
    external: ['node:*'],
    format: 'cjs',
    target: 'node20',
    charset: 'ascii',
    legalComments: 'none',
  });
  const text = `var module={exports:{}},exports=module.exports;${part.outputFiles[0].text};return module.exports.start(host,arguments.callee.toString())`;
  writeFileSync(`${root}dist/importer-${profile}.js`, text);
  console.log(`importer, ${profile}: ${text.length} bytes minified, ${deflateRaw(Buffer.from(text), { level: 9 }).length} bytes compressed`);
}
// What runs in contexts for `exec()` and the methods for files: a CommonJS module.
const remote = await build({
  absWorkingDir: root,
  entryPoints: ['src/remote/main.ts'],
  bundle: true,
  write: false,
  minify: true,
  platform: 'node',
  external: ['node:*', 'tendril'],
  format: 'cjs',
  target: 'node20',
  charset: 'ascii',
  legalComments: 'none',
});
const remoteText = remote.outputFiles[0].text;
writeFileSync(`${root}dist/part-remote.js`, remoteText);
console.log(`part, remote: ${remoteText.length} bytes minified, ${deflateRaw(Buffer.from(remoteText), { level: 9 }).length} bytes compressed`);
// The parts of the library for contexts with children of their own: bodies of functions of `require`, `host` and `packed`.
// What the core has in it they take from their host.
const SHARED = /\/core\/(?:context|routing\/stream|wire\/values)\.ts$/;
const fromHost = {
  name: 'from-host',
  setup(builder) {
    builder.onResolve({ filter: /^\.{1,2}\/.*\.ts$/ }, ({ path, resolveDir }) => (SHARED.test(resolve(resolveDir, path)) ? { path, namespace: 'host' } : undefined));
    builder.onLoad({ filter: /.*/, namespace: 'host' }, () => ({ contents: 'module.exports=host' }));
    // Optional native parts of ssh2, without which it works.
    builder.onResolve({ filter: /\.node$|^cpu-features$/ }, ({ path }) => ({ path, external: true }));
    // And what a client that runs one command has no use for: 78 KB.
    builder.onResolve({ filter: /^\.\/(?:server|keygen|http-agents|protocol\/SFTP)\.js$/ }, ({ path, importer }) => (/\/ssh2\/lib\/(?:index|client)\.js$/.test(importer) ? { path, namespace: 'left-out' } : undefined));
    builder.onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({ contents: 'module.exports={}' }));
  },
};
for (const [name, entry] of [['parent', 'parent/via/broker-part'], ['ssh', 'parent/via/ssh-part'], ['attach', 'parent/via/attach-part'], ['maker', 'parent/via/maker-part'], ['flow', 'flow/flow-part'], ['service', 'service/service-part'], ['chain', 'chain/chain-part']]) {
  const part = await build({
    absWorkingDir: root,
    entryPoints: [`src/${entry}.ts`],
    bundle: true,
    write: false,
    minify: true,
    platform: name === 'ssh' ? 'node' : 'neutral',
    conditions: ['es2015', 'import'],
    mainFields: ['module', 'main'],
    alias: { rxjs: `${root}node_modules/rxjs/dist/esm/index.js` },
    external: ['node:*'],
    format: 'cjs',
    target: 'node20',
    charset: 'ascii',
    legalComments: 'none',
    plugins: [fromHost],
  });
  const text = `var module={exports:{}},exports=module.exports;${part.outputFiles[0].text};module.exports.start(host,packed)`;
  if (['maker', 'flow', 'service', 'chain'].includes(name)) {
    // Modules as others, which the importer of the child takes.
    const source = `var module={exports:{}},exports=module.exports;${part.outputFiles[0].text};return module.exports.start(host)`;
    writeFileSync(`${root}dist/part-${name}.js`, source);
    console.log(`part, ${name}: ${source.length} bytes minified, ${deflateRaw(Buffer.from(source), { level: 9 }).length} bytes compressed`);
    continue;
  }
  const packed = await zopfliOf(text);
  writeFileSync(`${root}dist/part-${name}.deflate`, packed);
  console.log(`part, ${name}: ${text.length} bytes minified, ${packed.length} bytes compressed`);
}
writeFileSync(`${root}dist/core.deflate`, compressed);
console.log(`core: ${core.length} bytes minified, ${compressed.length} bytes compressed (budget ${BUDGET})`);
if (compressed.length > BUDGET) {
  console.error('the core is over its budget: look for what came into src/core, or was imported by it');
  process.exit(1);
}
