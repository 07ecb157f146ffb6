import { MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

/** Our own call of a function in the same child, beside which a call of a service is measured. */
const CALL = 'tendril call()';
const COUNT = 200;
const WARM_UP = 6000;
const DEPTH = 1000;
const COUNTS = { [OURS]: 50_000, [CALL]: 50_000, [MITOGEN]: 2000 };

/** Calls of a method of a service that keeps a number: down to a child, up to the master, and from one child to another. */
export function services(notes) {
  return withCandidates([OURS, MITOGEN], notes, async (candidates) => {
    const ours = candidates[OURS];
    const blocks = (command, call, options) => Object.fromEntries([
      ...(call ? [[CALL, () => ours.ask(call, options(CALL))]] : []),
      ...Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask(command, options(name))]),
    ]);
    const tables = [];
    for (const candidate of Object.values(candidates)) for (const command of ['service', 'serviceUp']) await candidate.ask(command, { count: WARM_UP });
    await ours.ask('besideService', { count: WARM_UP });
    tables.push(report({ title: 'Call of a service in a child, one in flight', unit: 'µs', figures: await interleave(blocks('service', 'besideService', () => ({ count: COUNT })), { cycles: 30, seconds: 9 }), targets: [{ than: MITOGEN, atMost: 0.5 }, { than: CALL, atMost: 1.2 }] }));
    tables.push(report({ title: 'The same, 1000 in flight', unit: 'calls/s', figures: await interleave(blocks('servicePipelined', 'besidePipelined', (name) => ({ count: COUNTS[name], depth: DEPTH })), { cycles: 9, seconds: 11, warmUp: 2 }), targets: [{ than: MITOGEN, atLeast: 3 }, { than: CALL, atLeast: 0.75 }] }));
    tables.push(report({ title: 'Call of a service of the master by a child, one in flight', unit: 'µs', figures: await interleave(blocks('serviceUp', undefined, () => ({ count: COUNT })), { cycles: 30, seconds: 9 }), targets: [{ than: MITOGEN, atMost: 0.6 }] }));
    return tables;
  });
}
