// Prints how many modules a module makes Node evaluate, itself included: node count-modules.mjs <require|import> <url>.
import module, { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const [way, url] = process.argv.slice(2);
const seen = new Set();
module.registerHooks({
  load(at, context, next) {
    if (at.startsWith('file:')) seen.add(at);
    return next(at, context);
  },
});
if (way === 'require') createRequire(import.meta.url)(fileURLToPath(url));
else await import(url);
process.stdout.write(String(seen.size), () => process.exit(0));
