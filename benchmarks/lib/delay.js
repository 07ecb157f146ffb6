// Runs a command behind a link that takes its time: node delay.js <ms each way> <fds|stdio> <command ...>. What passes on
// the fds 3 and 4 (ours) or 0 and 1 (Mitogen's) is held back, each way, for so long; the bandwidth is not limited.
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';

const [delay, kind, command, ...args] = process.argv.slice(2);
const delayMs = Number(delay);
const [input, output] = kind === 'fds' ? [3, 4] : [0, 1];
const stdio = kind === 'fds' ? ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'] : ['pipe', 'pipe', 'inherit'];

const child = spawn(command, args, { stdio });
hold(new Socket({ fd: input, readable: true, writable: false }), child.stdio[input]);
hold(child.stdio[output], new Socket({ fd: output, readable: false, writable: true }));
for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  // Its last words are on their way still.
  setTimeout(() => process.exit(code ?? (signal ? 128 : 0)), delayMs + 5);
});

function hold(from, to) {
  // Timers of the same length end in the order of their start.
  from.on('data', (chunk) => setTimeout(() => to.write(chunk), delayMs));
  from.on('end', () => setTimeout(() => to.end(), delayMs));
  for (const end of [from, to]) end.on('error', () => undefined);
}
