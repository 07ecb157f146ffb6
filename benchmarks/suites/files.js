import { existsSync, mkdtempSync, openSync, rmSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { FILE_RELAY, MITOGEN, OURS, SFTP, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';
import { missing, startSshd } from '../lib/sshd.js';

const BYTES = 256 * 1024 * 1024;
const DEPTHS = [1, 2, 4];
const FILE_SERVICE = 'mitogen FileService';

/** A file, from this machine to this machine: the ways differ, and the disk does not count. */
export async function files(notes) {
  // Memory, where there is a file system of it: what a disk does beside it is not to be measured.
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tendril-bench-'));
  const from = join(directory, 'from');
  const fd = openSync(from, 'w');
  const block = randomBytes(1024 * 1024);
  for (let at = 0; at < BYTES; at += block.length) writeSync(fd, block);
  closeSync(fd);
  const target = (name) => ({ bytes: BYTES, from, to: join(directory, name) });
  try {
    return [...(await overPipes(notes, target)), ...(await overSsh(notes, target))];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function overPipes(notes, target) {
  return withCandidates([OURS, FILE_RELAY, MITOGEN], notes, async ({ [MITOGEN]: mitogen, ...candidates }) => {
    const tables = [];
    for (const depth of DEPTHS) {
      for (const direction of ['push', 'pull']) {
        const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask(direction, { depth, ...target('to') })]));
        if (mitogen) blocks[FILE_SERVICE] = () => mitogen.ask('fetchFile', { depth, ...target('to') });
        const targets = [{ than: FILE_SERVICE, atLeast: 2.5 }, { than: FILE_RELAY, atLeast: 0.5 }];
        const title = `A file of 256 MiB ${direction === 'push' ? 'to' : 'from'} a local context ${depth} deep`;
        tables.push(report({ title, unit: 'MB/s', figures: await interleave(blocks, { cycles: 7, seconds: 20 }), targets }));
      }
    }
    return tables;
  });
}

async function overSsh(notes, target) {
  const lacking = missing();
  if (lacking.length > 0) {
    notes.push(`files over ssh are left out: this machine lacks ${lacking.join(', ')}`);
    return [];
  }
  const sshd = await startSshd();
  try {
    return await withCandidates([OURS, SFTP], notes, async (candidates) => {
      const tables = [];
      for (const direction of ['push', 'pull']) {
        const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask(direction, { ssh: sshd, ...target('to') })]));
        const title = `A file of 256 MiB ${direction === 'push' ? 'to' : 'from'} a context over ssh`;
        tables.push(report({ title, unit: 'MB/s', figures: await interleave(blocks, { cycles: 7, seconds: 30 }), targets: [{ than: SFTP, atLeast: 0.9 }] }));
      }
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('exec', { ssh: sshd, bytes: BYTES })]));
      tables.push(report({ title: 'Output of a command over ssh, 256 MiB', unit: 'MB/s', figures: await interleave(blocks, { cycles: 7, seconds: 30 }), targets: [{ than: SFTP, atLeast: 0.9 }] }));
      return tables;
    });
  } finally {
    await sshd.close();
  }
}
