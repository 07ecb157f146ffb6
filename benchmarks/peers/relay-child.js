// A chain of plain Node processes: each but the last passes frames on, both ways, over stdio pipes. The last one sends
// each back. The frames have Tendril's header, of which each relay reads all fields; nothing else is done with them.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { frames } from './relay-frames.js';

const left = Number(process.argv[2]);
let deliver;
if (left > 1) {
  const next = spawn(process.execPath, [fileURLToPath(import.meta.url), String(left - 1)], { stdio: ['pipe', 'pipe', 'inherit'] });
  next.stdout.on('data', frames((frame) => { process.stdout.write(frame); }));
  deliver = (frame) => { next.stdin.write(frame); };
  process.stdin.on('end', () => { next.stdin.end(); });
} else deliver = (frame) => { process.stdout.write(frame); };
process.stdin.on('data', frames((frame) => { deliver(frame); }));
