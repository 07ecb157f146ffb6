// The child of pipe.js. A command is a letter and two u32: size of a block, and how many bytes in all.
import { once } from 'node:events';
import { Socket } from 'node:net';

const output = new Socket({ fd: 1, readable: false, writable: true });
const header = Buffer.alloc(9);
let have = 0;
let left = 0;

async function give(size, total) {
  const block = Buffer.alloc(size, 7);
  for (let sent = 0; sent < total; sent += size) if (!output.write(block)) await once(output, 'drain');
}

function take(chunk) {
  let offset = 0;
  if (left === 0) {
    offset = chunk.copy(header, have, 0, header.length - have);
    have += offset;
    if (have < header.length) return;
    have = 0;
    const total = header.readUInt32BE(5);
    if (header[0] === 0x64) {
      give(header.readUInt32BE(1), total);
      return;
    }
    left = total;
  }
  const body = chunk.subarray(offset);
  if (body.length === 0) return;
  left -= body.length;
  if (header[0] === 0x65) output.write(Buffer.from(body));
  else if (left === 0) output.write('k');
}

if (process.argv[2] === 'static') {
  // The fastest way to read in Node, where nobody keeps what was read: into one buffer that is used again.
  const onread = { buffer: Buffer.allocUnsafeSlow(64 * 1024), callback: (length, buffer) => { take(buffer.subarray(0, length)); return true; } };
  const input = new Socket({ fd: 0, readable: true, writable: false, onread });
  input.on('end', () => process.exit(0));
  input.resume();
} else {
  process.stdin.on('data', take);
  process.stdin.on('end', () => process.exit(0));
}
