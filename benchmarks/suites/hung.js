import { MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

/** How long a child lives on that does nothing but `while (true) {}` once it is told to shut down. */
export function hung(notes) {
  return withCandidates([OURS, MITOGEN], notes, async (candidates) => {
    const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('hung')]));
    return [report({ title: 'A hung child, from SHUTDOWN until it is dead', unit: 'ms', figures: await interleave(blocks, { cycles: 6, seconds: 8 }), targets: [{ atMost: 100 }] })];
  });
}
