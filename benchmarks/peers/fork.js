// Node's own child_process.fork, with the serialization that the command line names: json (the default) or advanced.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { microseconds, oneAtATime, pump, rate, serve } from './driver.js';

const [serialization = 'json'] = process.argv.slice(2);
const script = fileURLToPath(new URL('fork-child.js', import.meta.url));
const start = () => fork(script, [], { serialization, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });

let child;
/** Takes each message of the child. */
let take;
function warm() {
  if (!child) {
    child = start();
    child.on('message', (message) => take(message));
  }
  return child;
}

const ended = (process) => new Promise((resolve) => { process.once('exit', resolve); });

await serve(
  {
    async roundTrip({ count }) {
      const process = warm();
      return oneAtATime(count, (index) => new Promise((resolve) => {
        take = resolve;
        process.send({ id: index, add: [index, 1] });
      }));
    },

    async pipelined({ count, depth }) {
      const process = warm();
      const waiting = new Map();
      take = ({ id }) => {
        const done = waiting.get(id);
        waiting.delete(id);
        done();
      };
      return pump(count, depth, (id, done) => {
        waiting.set(id, done);
        process.send({ id, add: [id, 1] });
      });
    },

    async up({ size, count, depth }) {
      const process = warm();
      const bytes = Buffer.alloc(size, 7);
      const waiting = [];
      take = () => waiting.shift()();
      return (await pump(count, depth, (id, done) => {
        waiting.push(done);
        process.send({ id, bytes });
      })) * size / 1e6;
    },

    async down({ size, count, depth }) {
      const process = warm();
      const begun = microseconds();
      let received = 0;
      await new Promise((resolve) => {
        take = ({ bytes }) => {
          received += bytes.length;
          if (received === size * count) resolve();
        };
        process.send({ give: { size, count, depth } });
      });
      return rate(received, microseconds() - begun);
    },

    async connect() {
      const begun = microseconds();
      const process = start();
      const answer = new Promise((resolve) => { process.once('message', resolve); });
      process.send({ id: 0, add: [1, 2] });
      await answer;
      const ms = (microseconds() - begun) / 1000;
      const over = ended(process);
      process.kill('SIGKILL');
      await over;
      return ms;
    },
  },
  async () => {
    child?.kill('SIGKILL');
  },
);
