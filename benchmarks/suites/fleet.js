import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { OURS, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

const COUNT = 100;
const BARE = `${COUNT} x node -e 0, until all have ended`;
/** Children that are booted at a time: the default is what the verdict is about. */
const LIMITS = [4, 10, 25, COUNT];
const ROUNDS = 5;

/** Many children at once, beside as many bare processes at once; and what each of them costs its master. */
export async function fleet(notes) {
  // Each in a fresh driver: memory that one has had is resident for the next.
  const perChild = [];
  for (let round = 0; round < 3; round++) perChild.push(await withCandidates([OURS], notes, ({ [OURS]: tendril }) => tendril.ask('residentPerChild', { count: 50 })));
  const resident = report({ title: 'Resident memory of the master for each connected idle local child', unit: 'KiB', figures: { [OURS]: perChild }, targets: [{ under: 300 }] });
  return withCandidates([OURS], notes, async ({ [OURS]: tendril }) => {
    const blocks = { [BARE]: bareProcesses, [OURS]: () => tendril.ask('connectMany', { count: COUNT }) };
    for (const limit of LIMITS) blocks[`maxHandshakes ${limit}`] = () => tendril.ask('connectMany', { count: COUNT, maxHandshakes: limit });
    const figures = await interleave(blocks, { cycles: ROUNDS, seconds: 120, warmUp: 1 });
    return [
      report({ title: `${COUNT} local children at once, until all are connected`, unit: 'ms', figures, targets: [{ than: BARE, atMost: 1.5 }] }),
      resident,
    ];
  });
}

async function bareProcesses() {
  const begun = performance.now();
  await Promise.all(Array.from({ length: COUNT }, () => once(spawn(process.execPath, ['-e', '0'], { stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] }), 'exit')));
  return performance.now() - begun;
}
