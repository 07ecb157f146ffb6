// The modules that load a package, one for each way: made here, so that the closure of each is that of its package alone.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import checks from './checks.cjs';

/** Each gets a fresh child for each way and each Node. */
export const TWENTY = ['lodash', 'express', 'axios', 'chalk', 'zod', 'ssh2', 'winston', 'typescript', '@babel/core', 'fastify', 'pg', 'ws', 'uuid', 'date-fns', 'rxjs', 'execa', 'yaml', 'commander', 'got', 'undici'];

/** The others. */
export const MORE = checks.names.filter((name) => !TWENTY.includes(name));

export const WAYS = ['require', 'import'];

/** A second package that a check needs. */
const ALSO = { 'socket.io': 'socket.io-client', 'react-dom/server': 'react' };

const TEXTS = {
  require: (name, also) => `const m = require('${name}');\n${also ? `const other = require('${also}');\n` : ''}const { check } = require('../checks.cjs');\n\nexports.run = () => check('${name}', m${also ? ', other' : ''});\n`,
  import: (name, also) => `import * as m from '${name}';\n${also ? `import * as other from '${also}';\n` : ''}import { check } from '../checks.cjs';\n\nexport const run = () => check('${name}', m${also ? ', other' : ''});\n`,
};

/** The URL of the module that loads a package and exports `run()`, its smoke call. */
export function entry(name, way) {
  return written(name, way, '', TEXTS[way](name, ALSO[name]));
}

/** The URL of a module that only loads a package, or `nothing`, and exports `loaded()`. */
export function bareEntry(name, way) {
  if (name === 'nothing') return written(name, way, '.bare', way === 'require' ? 'exports.loaded = () => 0;\n' : 'export const loaded = () => 0;\n');
  const text = way === 'require' ? `const m = require('${name}');\n\nexports.loaded = () => Object.keys(m).length;\n` : `import * as m from '${name}';\n\nexport const loaded = () => Object.keys(m).length;\n`;
  return written(name, way, '.bare', text);
}

function written(name, way, kind, text) {
  const url = new URL(`./entries/${name.replace(/\W+/g, '-').replace(/^-/, '')}${kind}.${way === 'require' ? 'cjs' : 'mjs'}`, import.meta.url);
  let old;
  try {
    old = readFileSync(url, 'utf8');
  } catch {
    mkdirSync(new URL('./entries/', import.meta.url), { recursive: true });
  }
  if (old !== text) writeFileSync(url, text);
  return url;
}
