// The floor of a hop: chains of plain Node processes that pass frames on.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { oneAtATime, serve } from './driver.js';
import { frames } from './relay-frames.js';

const script = fileURLToPath(new URL('relay-child.js', import.meta.url));
const chains = new Map();
let take;

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
  },
  // Each ends at the end of its input.
  async () => { for (const first of chains.values()) first.stdin.end(); },
);
