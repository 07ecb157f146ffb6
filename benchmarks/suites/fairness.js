import { OURS, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

const MIB = 1024 * 1024;
/** 1 GiB in all. */
const TRANSFER = { size: MIB, count: 1024 };
const CALLS = 3000;

/** A small call at a time while nothing else happens, and while 1 GiB flows over the same link or through the same context. */
export function fairness(notes) {
  return withCandidates([OURS], notes, async ({ [OURS]: ours }) => {
    const tables = [];
    for (const [command, title, kinds] of [['fairness', 'over the same link', ['idle', 'down', 'up']], ['fairnessThrough', 'through the same intermediate', ['idle', 'down']]]) {
      await ours.ask(command, { kind: 'idle', calls: 6000 });
      const blocks = Object.fromEntries(kinds.map((kind) => [kind, () => ours.ask(command, { kind, calls: CALLS, ...TRANSFER })]));
      const figures = await interleave(blocks, { cycles: 9, seconds: 40 });
      for (const part of ['p50', 'p99']) {
        const of = Object.fromEntries(kinds.map((kind) => [kind, figures[kind].map((figure) => figure[part])]));
        for (const kind of kinds.slice(1)) {
          const targets = part === 'p99' ? [{ than: 'idle', atMost: 5 }] : [];
          const words = kind === 'down' ? 'from' : 'to';
          tables.push(report({ title: `Small calls, ${part}, while 1 GiB flows ${words} a context ${title}`, unit: 'µs', ours: kind, figures: { [kind]: of[kind], idle: of.idle }, targets }));
        }
      }
    }
    return tables;
  });
}
