// A file through plain Node processes and their pipes: the floor of a transfer. Nothing is checked, and nothing is shared.
import { spawn } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { microseconds, rate, serve } from './driver.js';

const script = fileURLToPath(new URL('file-relay-child.js', import.meta.url));

/** Resolves when the last process says so. */
function said(child, word) {
  return new Promise((resolve) => {
    const onData = (data) => {
      if (!String(data).includes(word)) return;
      child.stderr.off('data', onData);
      resolve();
    };
    child.stderr.on('data', onData);
  });
}

async function chain(depth, direction, path, work) {
  const first = spawn(process.execPath, [script, String(depth), direction, path], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => { first.on('exit', resolve); });
  await said(first, 'r');
  const begun = microseconds();
  await work(first);
  const us = microseconds() - begun;
  await ended;
  return us;
}

await serve({
  async push({ depth, bytes, from, to }) {
    return rate(bytes, await chain(depth, 'push', to, (first) => {
      createReadStream(from, { highWaterMark: 256 * 1024 }).pipe(first.stdin);
      return said(first, 'd');
    }));
  },

  async pull({ depth, bytes, from, to }) {
    return rate(bytes, await chain(depth, 'pull', from, (first) => {
      first.stdin.end('g');
      return finished(first.stdout.pipe(createWriteStream(to)));
    }));
  },
});
