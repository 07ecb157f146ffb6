import { readFileSync } from 'node:fs';
import { firstStage } from '../../dist/parent/bootstrap/first-stage.js';
import { MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { report } from '../lib/measure.js';

/** What goes to a host before the first call. */
export function bootstrapBytes(notes) {
  return withCandidates([MITOGEN], notes, async ({ [MITOGEN]: mitogen }) => {
    const theirs = await mitogen?.ask('bytes');
    const core = readFileSync(new URL('../../dist/core.deflate', import.meta.url)).length;
    const beside = (ours, bytes) => ({ [OURS]: [ours], ...(bytes && { [MITOGEN]: [bytes] }) });
    return [
      report({ title: 'First stage: the command line for the shell of the host', unit: 'bytes', figures: beside(firstStage('tendril:bench').shellLine.length, theirs?.command) }),
      report({ title: 'Core, compressed', unit: 'bytes', figures: beside(core, theirs?.core), targets: [{ atMost: 40 * 1024 }] }),
    ];
  });
}
