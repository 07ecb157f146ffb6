// The floor of fairness: a plain Node child with one pipe for bulk and another for small messages, so that nothing of the
// one is ever ahead of the other. What a small message takes beside bulk here, the machine and Node take.
import { spawn } from 'node:child_process';
import { quantile } from '../lib/statistics.js';
import { microseconds, serve } from './driver.js';

const CHILD = `
const bulk = new (require('net').Socket)({ fd: 3, readable: false, writable: true });
process.stdin.on('data', (message) => {
  process.stdout.write(message);
  const count = message.readUInt32BE(0);
  if (count === 0) return;
  const bytes = Buffer.alloc(message.readUInt32BE(4), 7);
  (async () => { for (let sent = 0; sent < count; sent++) if (!bulk.write(bytes)) await new Promise((drained) => bulk.once('drain', drained)); })();
});`;

const child = spawn(process.execPath, ['-e', CHILD], { stdio: ['pipe', 'pipe', 'inherit', 'pipe'] });
let received = 0;
child.stdio[3].on('data', ({ length }) => { received += length; });

function echo(count = 0, size = 0) {
  // As large as a call of `add`.
  const message = Buffer.alloc(56);
  message.writeUInt32BE(count);
  message.writeUInt32BE(size, 4);
  return new Promise((resolve) => {
    child.stdout.once('data', resolve);
    child.stdin.write(message);
  });
}

await serve(
  {
    async fairness({ kind, size, count, calls }) {
      received = 0;
      if (kind === 'down') await echo(count, size);
      const times = [];
      while (kind === 'down' ? received < size * count : times.length < calls) {
        const begun = microseconds();
        await echo();
        times.push(microseconds() - begun);
      }
      return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), calls: times.length };
    },
  },
  () => { child.kill(); },
);
