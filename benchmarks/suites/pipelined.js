import { FORK, FORK_ADVANCED, MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

const COUNT = 20_000;
/** Mitogen is slower by a factor of ten; the block should take about as long. */
const MITOGEN_COUNT = 3000;

/** Many calls in flight. */
export function pipelined(notes) {
  return withCandidates([OURS, FORK, FORK_ADVANCED, MITOGEN], notes, async (candidates) => {
    const tables = [];
    for (const depth of [100, 1000]) {
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('pipelined', { depth, count: name === MITOGEN ? MITOGEN_COUNT : COUNT })]));
      const targets = depth === 1000 ? [{ atLeast: 100_000 }, { than: FORK, over: 1 }, { than: FORK_ADVANCED, over: 1 }] : [];
      tables.push(report({ title: `Pipelined calls, ${depth} in flight`, unit: 'calls/s', figures: await interleave(blocks, { cycles: 12, seconds: 14, warmUp: 2 }), targets }));
    }
    return tables;
  });
}
