import { MITOGEN, OURS, RELAY, SSH2, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';
import { missing, startSshd } from '../lib/sshd.js';

const MIB = 1024 * 1024;
/** As much as files have; the mover of less is measured by what it takes to begin. */
const TOTAL = 256 * MIB;
const FILE_SERVICE = 'mitogen FileService';
const OPTIONS = { cycles: 7, seconds: 30, warmUp: 3 };

/** Bytes from a context that is reached by way of others, and from one behind ssh. */
export async function relayBulk(notes) {
  const tables = await withCandidates([OURS, RELAY, MITOGEN], notes, async ({ [OURS]: ours, [RELAY]: relay, [MITOGEN]: mitogen }) => {
    const some = [];
    for (const intermediates of [0, 1, 3]) {
      const depth = intermediates + 1;
      const block = { size: MIB, count: TOTAL / MIB, depth };
      const blocks = { [OURS]: () => ours.ask('relayed', block), [RELAY]: () => relay.ask('bulk', block) };
      // It goes down only, and the whole way from the master.
      if (mitogen) blocks[FILE_SERVICE] = () => mitogen.ask('fileService', { bytes: TOTAL, depth });
      const figures = await interleave(blocks, OPTIONS);
      some.push(report({ title: `Bulk, 1 MiB payloads, through ${intermediates} intermediates`, unit: 'MB/s', figures, targets: [{ than: RELAY, atLeast: 0.5 }, { than: FILE_SERVICE, atLeast: 2.5 }] }));
    }
    return some;
  });
  return [...tables, ...(await overSsh(notes))];
}

async function overSsh(notes) {
  const lacking = missing();
  if (lacking.length > 0) {
    notes.push(`bulk over ssh is left out: this machine lacks ${lacking.join(', ')}`);
    return [];
  }
  const sshd = await startSshd();
  try {
    return await withCandidates([OURS, SSH2], notes, async ({ [OURS]: ours, [SSH2]: ssh2 }) => {
      const { config } = sshd;
      const block = { size: MIB, count: TOTAL / MIB, config };
      const blocks = { [OURS]: () => ours.ask('overSsh', block), 'ssh2 exec': () => ssh2.ask('exec', block), 'ssh2 sftp': () => ssh2.ask('sftp', block) };
      const figures = await interleave(blocks, OPTIONS);
      return [report({ title: 'Bulk, 1 MiB payloads, over ssh', unit: 'MB/s', figures, targets: [{ than: 'ssh2 exec', atLeast: 0.9 }, { than: 'ssh2 sftp', atLeast: 0.9 }] })];
    });
  } finally {
    await sshd.close();
  }
}
