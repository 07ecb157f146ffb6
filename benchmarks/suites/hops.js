import { MITOGEN, OURS, RELAY, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

const DEPTHS = [1, 2, 3, 5, 10];
const COUNT = 100;
const WARM_UP = 3000;
const PIPELINED = 20_000;
const IN_FLIGHT = 100;

/** A call of a context that is so many hops away, and what a hop adds; then calls through one whose user code spins. */
export async function hops(notes) {
  const tables = await withCandidates([OURS, RELAY, MITOGEN], notes, async (candidates) => {
    const byDepth = {};
    for (const depth of DEPTHS) {
      for (const [name, candidate] of Object.entries(candidates)) await candidate.ask('hops', { depth, count: name === MITOGEN ? 200 : WARM_UP });
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('hops', { depth, count: COUNT })]));
      byDepth[depth] = await interleave(blocks, { cycles: 25, seconds: 6 });
    }
    const [deepest] = DEPTHS.slice(-1);
    const perHop = Object.fromEntries(Object.keys(candidates).map((name) => [name, byDepth[deepest][name].map((us, cycle) => (us - (byDepth[1][name][cycle] ?? NaN)) / (deepest - 1)).filter(Number.isFinite)]));
    return [
      ...DEPTHS.map((depth) => report({ title: `Call round trip, ${depth} deep`, unit: 'µs', figures: byDepth[depth] })),
      report({ title: `What a hop adds to it, from 1 to ${deepest}`, unit: 'µs', figures: perHop, targets: [{ than: RELAY, atMost: 1.5 }, { than: MITOGEN, under: 1 }] }),
    ];
  });
  return [...tables, ...(await spinning(notes))];
}

/** Two chains of two, one below the other; in the upper one of the second user code spins. */
function spinning(notes) {
  return withCandidates([OURS], notes, async ({ [OURS]: ours }) => {
    const blocks = (command, options) => Object.fromEntries([['idle', false], ['spinning', true]].map(([name, spins]) => [name, () => ours.ask(command, { spins, ...options })]));
    for (const spins of [false, true]) await ours.ask('through', { spins, count: WARM_UP });
    const latency = await interleave(blocks('through', { count: COUNT }), { cycles: 25, seconds: 8 });
    const throughput = await interleave(blocks('throughPipelined', { count: PIPELINED, depth: IN_FLIGHT }), { cycles: 9, seconds: 8, warmUp: 2 });
    return [
      report({ title: 'Call by way of a context, in which user code spins or not', unit: 'µs', ours: 'spinning', figures: latency }),
      report({ title: `The same, ${IN_FLIGHT} in flight`, unit: 'calls/s', ours: 'spinning', figures: throughput }),
    ];
  });
}
