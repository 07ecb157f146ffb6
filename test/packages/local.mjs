// The same smoke calls by plain Node, from the disk: node local.mjs <name> <way> [<name> <way> ...]. One JSON line each.
import { inspect } from 'node:util';
import { entry } from './entries.mjs';

const words = process.argv.slice(2);
// Some packages print; the answers go past them.
const say = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true;
// Node 20 throws what a CommonJS module throws once more into the void, when ESM imports it.
process.on('uncaughtException', () => undefined);
for (let index = 0; index < words.length; index += 2) {
  const [name, way] = words.slice(index, index + 2);
  let outcome;
  try {
    const { run } = await import(entry(name, way));
    outcome = { checked: await run() };
  } catch (error) {
    outcome = { code: error?.code ?? error?.name ?? 'Error', message: error?.message ?? inspect(error) };
  }
  await new Promise((resolve) => { say(`${JSON.stringify({ name, way, ...outcome })}\n`, resolve); });
}
process.exit(0);
