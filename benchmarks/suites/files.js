import { existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { FILE_RELAY, MITOGEN, OURS, SFTP, withCandidates } from '../lib/candidates.js';
import { interleave, report } from '../lib/measure.js';
import { missing, startSshd } from '../lib/sshd.js';

const BYTES = 256 * 1024 * 1024;
const DEPTHS = [1, 2, 4];
/** Files of a tree, and their bytes: from 2 to 6 KB. */
const FILES = 2000;
const sizeOf = (number) => 2000 + 2 * number;

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
  const tree = join(directory, 'tree');
  mkdirSync(tree);
  for (let number = 0; number < FILES; number++) writeFileSync(join(tree, String(number)), block.subarray(number, number + sizeOf(number)));
  const small = (name) => ({ bytes: FILES, from: tree, to: join(directory, name) });
  try {
    return [...(await overPipes(notes, target, small)), ...(await overSsh(notes, target, small))];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Asks for files a second: candidates give what they are told that it is, in millions. */
const perSecond = (candidate, command, what) => async () => (await candidate.ask(command, what)) * 1e6;

function overPipes(notes, target, small) {
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
    for (const direction of ['push', 'pull']) {
      const blocks = { [OURS]: perSecond(candidates[OURS], direction, { depth: 1, ...small(`${direction}-ours`) }) };
      if (mitogen) blocks[FILE_SERVICE] = perSecond(mitogen, 'fetchTree', { depth: 1, ...small('fetched') });
      tables.push(report({ title: `A tree of ${FILES} files of 2 to 6 KB ${direction === 'push' ? 'to' : 'from'} a local context`, unit: 'files/s', figures: await interleave(blocks, { cycles: 5, seconds: 15 }), targets: [{ than: FILE_SERVICE, atLeast: 1 }] }));
    }
    return tables;
  });
}

async function overSsh(notes, target, small) {
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
      for (const direction of ['push', 'pull']) {
        const command = { [OURS]: direction, [SFTP]: `${direction}Tree` };
        const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate], index) => [name, perSecond(candidate, command[name], { ssh: sshd, ...small(`${direction}-ssh-${index}`) })]));
        tables.push(report({ title: `A tree of ${FILES} files of 2 to 6 KB ${direction === 'push' ? 'to' : 'from'} a context over ssh`, unit: 'files/s', figures: await interleave(blocks, { cycles: 5, seconds: 20 }), targets: [] }));
      }
      const blocks = Object.fromEntries(Object.entries(candidates).map(([name, candidate]) => [name, () => candidate.ask('exec', { ssh: sshd, bytes: BYTES })]));
      tables.push(report({ title: 'Output of a command over ssh, 256 MiB', unit: 'MB/s', figures: await interleave(blocks, { cycles: 7, seconds: 30 }), targets: [{ than: SFTP, atLeast: 0.9 }] }));
      return tables;
    });
  } finally {
    await sshd.close();
  }
}
