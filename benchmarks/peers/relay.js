// The floor of a hop: chains of plain Node processes that pass frames on.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { microseconds, oneAtATime, rate, serve } from './driver.js';
import { frames } from './relay-frames.js';

const script = fileURLToPath(new URL('relay-child.js', import.meta.url));
const bulkScript = fileURLToPath(new URL('relay-bulk-child.js', import.meta.url));
const chains = new Map();
const pipes = new Map();
let take;

/** A chain that pipes, and does not look at what it passes on. */
function pipe(depth) {
  let first = pipes.get(depth);
  if (first === undefined) {
    first = spawn(process.execPath, [bulkScript, String(depth)], { stdio: ['pipe', 'pipe', 'inherit'] });
    first.stdout.on('data', (chunk) => { take(chunk); });
    pipes.set(depth, first);
  }
  return first;
}

function chain(depth) {
  let first = chains.get(depth);
  if (first === undefined) {
    first = spawn(process.execPath, [script, String(depth)], { stdio: ['pipe', 'pipe', 'inherit'] });
    first.stdout.on('data', frames((frame) => { take(frame); }));
    chains.set(depth, first);
  }
  return first;
}

/** As large as a call of `add`. */
const message = Buffer.alloc(16 + 40);
message.writeUInt32BE(40, 12);

await serve(
  {
    async hops({ depth, count }) {
      const { stdin } = chain(depth);
      return oneAtATime(count, () => new Promise((resolve) => {
        take = resolve;
        stdin.write(message);
      }));
    },

    async bulk({ depth, size, count }) {
      const { stdin } = pipe(depth);
      const begun = microseconds();
      const wanted = Buffer.alloc(8);
      wanted.writeUInt32BE(size);
      wanted.writeUInt32BE(count, 4);
      let received = 0;
      await new Promise((resolve) => {
        take = (chunk) => {
          received += chunk.length;
          if (received === size * count) resolve();
        };
        stdin.write(wanted);
      });
      return rate(received, microseconds() - begun);
    },
  },
  // Each ends at the end of its input.
  async () => { for (const first of [...chains.values(), ...pipes.values()]) first.stdin.end(); },
);
