import { FORK, FORK_ADVANCED, MITOGEN, OURS, PIPE, withCandidates } from '../lib/candidates.js';
import { has } from '../lib/machine.js';
import { interleave, report } from '../lib/measure.js';

const COUNT = 200;
/** Until V8 has optimised the path of a call (its last steps come after thousands) and Python has warmed up what it can. */
const WARM_UP = 6000;

/** One call at a time. On one CPU there is no waking of another core: that is the cost of the work alone. */
export async function roundTrip(notes) {
  const run = (title, targets, prefix) =>
    withCandidates([OURS, FORK, FORK_ADVANCED, PIPE, MITOGEN], notes, async (candidates) => {
      for (const candidate of Object.values(candidates)) await candidate.ask('roundTrip', { count: WARM_UP });
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('roundTrip', { count: COUNT })]));
      return report({ title, unit: 'µs', figures: await interleave(blocks, { cycles: 30, seconds: 9 }), targets });
    }, prefix);
  const tables = [await run('Call round trip, one in flight', [{ than: MITOGEN, atMost: 0.5 }, { than: FORK, atMost: 2.5 }])];
  if (has('taskset', '-V')) tables.push(await run('The same with both processes on one CPU', [], ['taskset', '-c', '0']));
  else notes.push('taskset is missing: the round trip on one CPU is left out');
  return tables;
}
