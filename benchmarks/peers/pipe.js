// The floor: bytes through the stdio pipes of a spawned Node, without messages, codec or thread. With the argument
// `static` the child reads into one buffer that is used again, which only serves who keeps nothing.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { microseconds, oneAtATime, rate, serve } from './driver.js';

const script = fileURLToPath(new URL('pipe-child.js', import.meta.url));
let child;
/** Takes each chunk of the child. */
let take;
function warm() {
  if (!child) {
    child = spawn(process.execPath, [script, ...process.argv.slice(2)], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdout.on('data', (chunk) => take(chunk));
  }
  return child;
}

function command(kind, size, total) {
  const bytes = Buffer.alloc(9);
  bytes.write(kind);
  bytes.writeUInt32BE(size, 1);
  bytes.writeUInt32BE(total, 5);
  return bytes;
}

await serve(
  {
    async roundTrip({ count }) {
      const { stdin } = warm();
      const message = Buffer.alloc(64, 7);
      stdin.write(command('e', message.length, count * message.length));
      return oneAtATime(count, () => new Promise((resolve) => {
        let received = 0;
        take = (chunk) => {
          received += chunk.length;
          if (received === message.length) resolve();
        };
        stdin.write(message);
      }));
    },

    async up({ size, count }) {
      const { stdin } = warm();
      const block = Buffer.alloc(size, 7);
      const begun = microseconds();
      const taken = new Promise((resolve) => { take = resolve; });
      stdin.write(command('u', size, size * count));
      for (let sent = 0; sent < count; sent++) if (!stdin.write(block)) await once(stdin, 'drain');
      await taken;
      return rate(size * count, microseconds() - begun);
    },

    async down({ size, count }) {
      const { stdin } = warm();
      const begun = microseconds();
      await new Promise((resolve) => {
        let received = 0;
        take = (chunk) => {
          received += chunk.length;
          if (received === size * count) resolve();
        };
        stdin.write(command('d', size, size * count));
      });
      return rate(size * count, microseconds() - begun);
    },
  },
  async () => {
    child?.kill('SIGKILL');
  },
);
