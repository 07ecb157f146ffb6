import { FORK, MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { timeOf } from '../lib/commands.js';
import { interleave, report } from '../lib/measure.js';

const BARE = 'node -e 0, until it ends';
const MODULE = { [OURS]: 'tendril, module', [MITOGEN]: 'mitogen, module' };

/** From nothing to the first answer of a child on this machine. */
export function connect(notes) {
  return withCandidates([OURS, FORK, MITOGEN], notes, async (candidates) => {
    const blocks = { [BARE]: () => timeOf(process.execPath, '-e', '0') };
    for (const [name, candidate] of Object.entries(candidates)) {
      blocks[name] = () => candidate.ask('connect');
      if (MODULE[name]) blocks[MODULE[name]] = () => candidate.ask('connectModule');
    }
    const figures = await interleave(blocks, { cycles: 20, seconds: 20, warmUp: 2 });
    const { [MODULE[OURS]]: ours, [MODULE[MITOGEN]]: theirs, ...builtin } = figures;
    return [
      report({ title: 'Connect to a local child, until the first answer of a builtin function', unit: 'ms', figures: builtin, targets: [{ than: BARE, atMost: 2.2 }, { than: MITOGEN, under: 1 }] }),
      report({ title: 'The same until the first answer of a function of a module that is sent', unit: 'ms', ours: MODULE[OURS], figures: { [MODULE[OURS]]: ours, [BARE]: figures[BARE], ...(theirs && { [MODULE[MITOGEN]]: theirs }) }, targets: [{ than: BARE, atMost: 2.2 }, { than: MODULE[MITOGEN], under: 1 }] }),
    ];
  });
}
