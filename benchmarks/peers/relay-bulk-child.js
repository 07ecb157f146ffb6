// A chain of plain Node processes that only pipe: each but the last starts the next one and pipes both ways. The last one
// takes a size and a count, and sends so many blocks.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const left = Number(process.argv[2]);
if (left > 1) {
  const next = spawn(process.execPath, [fileURLToPath(import.meta.url), String(left - 1)], { stdio: ['pipe', 'pipe', 'inherit'] });
  process.stdin.pipe(next.stdin);
  next.stdout.pipe(process.stdout);
} else {
  process.stdin.on('data', async (wanted) => {
    const block = Buffer.alloc(wanted.readUInt32BE(0), 7);
    for (let sent = 0; sent < wanted.readUInt32BE(4); sent++) if (!process.stdout.write(block)) await once(process.stdout, 'drain');
  });
}
