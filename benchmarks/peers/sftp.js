// The package ssh2 by itself: fastPut and fastGet of its SFTP, and the output of a command.
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { microseconds, rate, serve } from './driver.js';

let connection;
function connected({ port, user, key }) {
  connection ??= new Promise((resolve, reject) => {
    const client = new ssh2.Client();
    client.on('ready', () => { client.setNoDelay(true); resolve(client); }).on('error', reject);
    client.connect({ host: '127.0.0.1', port, username: user, privateKey: readFileSync(key) });
  });
  return connection;
}

const promised = (work) => new Promise((resolve, reject) => { work((error, value) => { if (error) reject(error); else resolve(value); }); });

let session;
async function sftp(ssh) {
  const client = await connected(ssh);
  return (session ??= promised((done) => { client.sftp(done); }));
}

/** Files at a time: more make it no faster. */
const AT_ONCE = 16;

/** Moves each file of a directory, several at a time; both ends see the same disk. */
async function tree(how, { ssh, bytes, from, to }) {
  const channel = await sftp(ssh);
  mkdirSync(to, { recursive: true });
  return timed(bytes, async () => {
    const names = readdirSync(from);
    const mover = async () => {
      for (let name = names.pop(); name !== undefined; name = names.pop()) await promised((done) => { channel[how](join(from, name), join(to, name), done); });
    };
    await Promise.all(Array.from({ length: AT_ONCE }, mover));
  });
}

async function timed(bytes, work) {
  const begun = microseconds();
  await work();
  return rate(bytes, microseconds() - begun);
}

await serve(
  {
    async push({ ssh, bytes, from, to }) {
      const channel = await sftp(ssh);
      return timed(bytes, () => promised((done) => { channel.fastPut(from, to, done); }));
    },

    async pull({ ssh, bytes, from, to }) {
      const channel = await sftp(ssh);
      return timed(bytes, () => promised((done) => { channel.fastGet(from, to, done); }));
    },

    pushTree: (what) => tree('fastPut', what),
    pullTree: (what) => tree('fastGet', what),

    async exec({ ssh, bytes }) {
      const client = await connected(ssh);
      let received = 0;
      const speed = await timed(bytes, async () => {
        const stream = await promised((done) => { client.exec(`head -c ${bytes} /dev/zero`, done); });
        await new Promise((resolve) => { stream.on('data', (data) => { received += data.length; }).on('close', resolve); stream.stderr.resume(); });
      });
      if (received !== bytes) throw new Error(`${received} bytes came instead of ${bytes}`);
      return speed;
    },
  },
  async () => { (await connection)?.end(); },
);
