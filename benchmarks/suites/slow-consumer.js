import { fileURLToPath } from 'node:url';
import { Candidate } from '../lib/candidate.js';
import { OURS } from '../lib/candidates.js';
import { report } from '../lib/measure.js';

const HOPS = 4;
const SIZE = 2 ** 20;
const SECONDS = 20;
/** Of the default window, in MiB. */
const WINDOW = 4;
const PIPE = 'node pipes';

const WAYS = [
  { title: 'for await', how: 'for await' },
  { title: 'eachBuffered', how: 'eachBuffered' },
  { title: 'for await, after collections of garbage', how: 'for await', collect: true },
];

/** How much every process of a chain grows while its end sends without a pause, and its beginning takes one value a second. */
export async function slowConsumer(notes) {
  const tables = [];
  const plain = await measure(PIPE, 'slow-pipe.js', {}, notes);
  for (const { title, ...options } of WAYS) {
    const ours = await measure(OURS, 'tendril-streams.js', options, notes);
    if (ours === undefined) continue;
    const { growth, read } = ours;
    const figures = {
      [OURS]: [Math.max(...growth) / WINDOW],
      ...Object.fromEntries(growth.map((grown, index) => [index === 0 ? '  consumer' : index === HOPS ? '  producer' : `  hop ${index}`, [grown / WINDOW]])),
      ...(plain && { [PIPE]: [Math.max(...plain.growth) / WINDOW] }),
    };
    tables.push(report({ title: `Growth of the processes of a chain, ${HOPS} hops, ${read} values of 1 MiB taken in ${SECONDS} s, ${title}; the largest`, unit: 'windows of 4 MiB', figures, targets: [{ atMost: 4 }] }));
  }
  return tables;
}

async function measure(name, file, options, notes) {
  const driver = await Candidate.start(name, [process.execPath, fileURLToPath(new URL(`../peers/${file}`, import.meta.url))], notes);
  if (driver === undefined) return undefined;
  try {
    return await driver.ask('slowConsumer', { depth: HOPS, size: SIZE, seconds: SECONDS, everyMs: 1000, ...options });
  } finally {
    await driver.close();
  }
}
