// Bytes from a host by ssh2 itself: the output of a command, and a file by sftp.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'ssh2';
import { microseconds, rate, serve } from './driver.js';

/** The value of a keyword in a configuration of ssh that has one host. */
const setting = (text, keyword) => new RegExp(`^${keyword} (.*)$`, 'm').exec(text)[1];

let client;
function connected(config) {
  client ??= new Promise((resolve, reject) => {
    const text = readFileSync(config, 'utf8');
    const made = new Client().on('ready', () => { resolve(made); }).on('error', reject);
    made.connect({ host: setting(text, 'HostName'), port: Number(setting(text, 'Port')), username: setting(text, 'User'), privateKey: readFileSync(setting(text, 'IdentityFile')) });
    made.setNoDelay(true);
  });
  return client;
}

const counted = (readable, bytes) => new Promise((resolve, reject) => {
  let received = 0;
  readable.on('data', (chunk) => { received += chunk.length; }).on('error', reject).on('end', () => {
    if (received === bytes) resolve();
    else reject(new Error(`${received} bytes came instead of ${bytes}`));
  });
});

let file;
let sftp;
await serve(
  {
    async exec({ size, count, config }) {
      const ssh = await connected(config);
      const begun = microseconds();
      const channel = await new Promise((resolve, reject) => {
        ssh.exec(`head -c ${size * count} /dev/zero`, (error, stream) => { if (error) reject(error); else resolve(stream); });
      });
      await counted(channel, size * count);
      return rate(size * count, microseconds() - begun);
    },

    async sftp({ size, count, config }) {
      const ssh = await connected(config);
      if (file === undefined) {
        file = join(tmpdir(), `tendril-bench-${process.pid}`);
        writeFileSync(file, Buffer.alloc(size * count, 7));
      }
      sftp ??= await new Promise((resolve, reject) => {
        ssh.sftp((error, made) => { if (error) reject(error); else resolve(made); });
      });
      const begun = microseconds();
      await counted(sftp.createReadStream(file, { highWaterMark: 256 * 1024 }), size * count);
      return rate(size * count, microseconds() - begun);
    },
  },
  async () => {
    (await client)?.end();
    if (file !== undefined) rmSync(file, { force: true });
  },
);
