import { fileURLToPath } from 'node:url';
import { Candidate } from '../lib/candidate.js';
import { interruption, report } from '../lib/measure.js';

const DEPTH = 3;
const COUNT = 100_000;
const IN_FLIGHT = 50;
const BLOCKS = 20;

/** Streamed calls that are opened, and cancelled at random moments in every way that there is. Nothing may be left of them. */
export async function cancel(notes) {
  const driver = await Candidate.start('tendril', [process.execPath, fileURLToPath(new URL('../peers/tendril-streams.js', import.meta.url))], notes);
  if (driver === undefined) return [];
  try {
    // What is compiled and loaded once is not what a call leaves.
    await driver.ask('cancel', { depth: DEPTH, count: 2000, inFlight: IN_FLIGHT });
    const { contexts: before } = await driver.ask('left');
    const memory = [];
    let seconds = 0;
    let last;
    for (let block = 1; block <= BLOCKS; block++) {
      if (interruption.asked) throw new Error('interrupted');
      seconds += await driver.ask('cancel', { depth: DEPTH, count: COUNT / BLOCKS, inFlight: IN_FLIGHT });
      last = await driver.ask('left');
      memory.push(last.contexts.map(({ rss }) => rss / 2 ** 20));
    }
    const { contexts: after, listeners, calls } = last;
    let left = listeners + calls;
    for (const [index, { handles, timers, begun, ended }] of after.entries()) left += Math.abs(handles - before[index].handles) + Math.max(0, timers - before[index].timers) + begun - ended;
    // The first fifth is for pools and caches to fill.
    const growth = memory[BLOCKS / 5 - 1].map((first, index) => memory.at(-1)[index] - first);
    const names = growth.map((_, index) => (index === 0 ? 'master' : `context ${index} deep`));
    return [
      report({ title: `${COUNT.toLocaleString('en')} streamed calls ${DEPTH} deep that are cancelled at random moments`, unit: 'calls/s', figures: { tendril: [COUNT / seconds] } }),
      report({ title: 'What is left of them: handles, timers, listeners, calls, sources, of all contexts together', unit: 'things', figures: { tendril: [left] }, targets: [{ atMost: 0 }] }),
      report({ title: `Growth of resident memory from the first fifth of them to the last; the largest`, unit: 'MiB', figures: { tendril: [Math.max(...growth)], ...Object.fromEntries(names.map((name, index) => [name, [growth[index]]])) }, targets: [{ atMost: 10 }] }),
    ];
  } finally {
    await driver.close();
  }
}
