import { FORK_ADVANCED, MITOGEN, OURS, PIPE, PIPE_STATIC, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';

const TOTAL = 64 * 1024 * 1024;
/** Bytes on the way at a time where each message is answered: as many as Tendril's window of a stream. */
const WINDOW = 4 * 1024 * 1024;
const FILE_SERVICE = 'mitogen FileService';

/** Bytes one way. FileService only goes down the tree (our "up" to the child); it is the peer for both directions. */
export function bulk(notes) {
  return withCandidates([OURS, FORK_ADVANCED, PIPE, PIPE_STATIC, MITOGEN], notes, async ({ [MITOGEN]: mitogen, ...candidates }) => {
    const tables = [];
    for (const kib of [64, 1024]) {
      for (const direction of ['up', 'down']) {
        const size = kib * 1024;
        const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask(direction, { size, count: TOTAL / size, depth: WINDOW / size })]));
        // Only the reader differs, and that is this process when the bytes come from the child.
        if (direction === 'down') delete blocks[PIPE_STATIC];
        if (mitogen) blocks[FILE_SERVICE] = () => mitogen.ask('fileService', { bytes: TOTAL });
        const title = `Bulk, ${kib} KiB payloads, ${direction === 'up' ? 'arguments to the child' : 'stream from the child'}`;
        const targets = [{ than: PIPE, atLeast: 0.3 }, { than: FILE_SERVICE, atLeast: 2 }];
        tables.push(report({ title, unit: 'MB/s', figures: await interleave(blocks, { cycles: 9, seconds: 7, warmUp: 2 }), targets }));
      }
    }
    return tables;
  });
}
