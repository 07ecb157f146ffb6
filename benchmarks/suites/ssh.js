import { MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { timeOf } from '../lib/commands.js';
import { interleave, report } from '../lib/measure.js';
import { missing, startSshd } from '../lib/sshd.js';

/** From nothing to the first answer of a child behind a real sshd on loopback. */
export async function ssh(notes) {
  const lacking = missing();
  if (lacking.length > 0) {
    notes.push(`ssh is left out: this machine lacks ${lacking.join(', ')}`);
    return [];
  }
  const sshd = await startSshd();
  try {
    return await withCandidates([OURS, MITOGEN], notes, async (candidates) => {
      const { config } = sshd;
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('connectSsh', { config })]));
      blocks['ssh bench true'] = () => timeOf('ssh', '-F', config, 'bench', 'true');
      blocks['ssh bench node -e 0'] = () => timeOf('ssh', '-F', config, 'bench', 'node -e 0');
      const figures = await interleave(blocks, { cycles: 12, seconds: 20 });
      return [report({ title: 'Connect over ssh, until the first answer of a builtin function', unit: 'ms', figures, targets: [{ than: MITOGEN, under: 1 }] })];
    });
  } finally {
    await sshd.close();
  }
}
