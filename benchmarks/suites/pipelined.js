import { FORK, FORK_ADVANCED, MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

/** Calls of a block: each block takes about half a second, so that its start does not count for much. */
const COUNTS = { [OURS]: 50_000, [FORK]: 40_000, [FORK_ADVANCED]: 15_000, [MITOGEN]: 5000 };
/** Blocks before anything counts; see round-trip.js. */
const WARM_UP = 3;

/** Many calls in flight. */
export function pipelined(notes) {
  return withCandidates([OURS, FORK, FORK_ADVANCED, MITOGEN], notes, async (candidates) => {
    const tables = [];
    for (const depth of [100, 1000]) {
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('pipelined', { depth, count: COUNTS[name] })]));
      const targets = depth === 1000 ? [{ atLeast: 100_000 }, { than: FORK, over: 1 }, { than: FORK_ADVANCED, over: 1 }] : [];
      tables.push(report({ title: `Pipelined calls, ${depth} in flight`, unit: 'calls/s', figures: await interleave(blocks, { cycles: 9, seconds: 11, warmUp: depth === 100 ? WARM_UP : 1 }), targets }));
    }
    return tables;
  });
}
