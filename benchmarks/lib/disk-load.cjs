// Loads one module from the disk and prints how many milliseconds that took:
// node disk-load.cjs <require|import> <url> <milliseconds to idle before>.
const { fileURLToPath } = require('node:url');

const [way, url, idleMs] = process.argv.slice(2);

async function load() {
  // Both sides answer a function call.
  const begun = performance.now();
  const { loaded } = way === 'require' ? require(fileURLToPath(url)) : await import(url);
  loaded();
  return performance.now() - begun;
}

setTimeout(() => {
  load().then((ms) => {
    process.stdout.write(String(ms), () => process.exit(0));
  });
}, Number(idleMs));
