// A chain of plain Node processes that pass bytes on over stdio pipes. The last one writes them to a file, or sends one up.
// What it has to say goes to stderr: `r` when it is there, `d` when the file is written.
import { spawn } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [left, direction, path] = process.argv.slice(2);
if (Number(left) > 1) {
  const next = spawn(process.execPath, [fileURLToPath(import.meta.url), String(Number(left) - 1), direction, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  process.stdin.pipe(next.stdin);
  next.stdout.pipe(process.stdout);
} else {
  if (direction === 'push') process.stdin.pipe(createWriteStream(path)).on('finish', () => { process.stderr.write('d'); });
  // Told to begin by the first byte.
  else process.stdin.once('data', () => { createReadStream(path, { highWaterMark: 256 * 1024 }).pipe(process.stdout); });
  process.stderr.write('r');
}
