import { OURS, TWO_PIPES, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

const MIB = 1024 * 1024;
/** 1 GiB in all. */
const TRANSFER = { size: MIB, count: 1024 };
const CALLS = 3000;

/** A small call at a time while nothing else happens, and while 1 GiB flows over the same link or through the same context. */
export function fairness(notes) {
  return withCandidates([OURS, TWO_PIPES], notes, async ({ [OURS]: ours, [TWO_PIPES]: floor }) => {
    const tables = [];
    for (const [command, title, kinds] of [['fairness', 'over the same link', ['idle', 'down', 'up']], ['fairnessThrough', 'through the same intermediate', ['idle', 'down']]]) {
      await ours.ask(command, { kind: 'idle', calls: 6000 });
      const blocks = Object.fromEntries(kinds.map((kind) => [kind, () => ours.ask(command, { kind, calls: CALLS, ...TRANSFER })]));
      const floors = command === 'fairness' ? { [TWO_PIPES]: 'down', [`${TWO_PIPES}, idle`]: 'idle' } : {};
      for (const [name, kind] of Object.entries(floors)) blocks[name] = () => floor.ask(command, { kind, calls: CALLS, ...TRANSFER });
      const figures = await interleave(blocks, { cycles: 9, seconds: 40 });
      const bulk = Object.fromEntries(kinds.slice(1).map((kind) => [kind, figures[kind].map((figure) => figure.bulk)]));
      tables.push(report({ title: `What the 1 GiB gets beside them, ${title}`, unit: 'MB/s', ours: 'down', figures: bulk, targets: [] }));
      for (const part of ['p50', 'p99']) {
        const of = Object.fromEntries(Object.keys(blocks).map((kind) => [kind, figures[kind].map((figure) => figure[part])]));
        for (const kind of kinds.slice(1)) {
          const targets = part === 'p99' ? [{ than: 'idle', atMost: 5 }] : [];
          const words = kind === 'down' ? 'from' : 'to';
          tables.push(report({ title: `Small calls, ${part}, while 1 GiB flows ${words} a context ${title}`, unit: 'µs', ours: kind, figures: { [kind]: of[kind], idle: of.idle, ...(kind === 'down' && Object.fromEntries(Object.keys(floors).map((name) => [name, of[name]]))) }, targets }));
        }
      }
    }
    return tables;
  });
}
