// Plain Node processes over stdio pipes, with the flow control that pipes have: one writes as long as it may, those between
// pass on with pipe(), this one reads a value every so often. All are children of this process, which hands the pipes on.
import { spawn } from 'node:child_process';
import { resident } from '../lib/processes.js';
import { pause, serve } from './driver.js';

const PRODUCER = "const bytes=Buffer.alloc(+process.argv[1],7);(async()=>{for(;;)if(!process.stdout.write(bytes))await new Promise((drained)=>process.stdout.once('drain',drained))})()";
const HOP = 'process.stdin.pipe(process.stdout)';

await serve({
  /** MiB that each process grows by at most. */
  async slowConsumer({ depth, size, seconds, everyMs }) {
    const chain = [];
    for (let level = depth; level > 0; level--) {
      const below = chain.at(-1);
      // What a process wrote already stays in its pipe for the next one.
      chain.push(spawn(process.execPath, below ? ['-e', HOP] : ['-e', PRODUCER, String(size)], { stdio: [below ? below.stdout : 'ignore', 'pipe', 'inherit'] }));
    }
    const reader = chain.at(-1).stdout;
    await pause(500);
    const pids = [process.pid, ...chain.map(({ pid }) => pid).reverse()];
    const before = pids.map(resident);
    const most = [...before];
    const end = performance.now() + seconds * 1000;
    let read = 0;
    let missing = size;
    for await (const bytes of reader) {
      for (const [index, pid] of pids.entries()) most[index] = Math.max(most[index], resident(pid));
      missing -= bytes.length;
      if (missing > 0) continue;
      missing += size;
      read++;
      await pause(everyMs);
      if (performance.now() >= end) break;
    }
    for (const child of chain) child.kill('SIGKILL');
    return { read, growth: most.map((rss, index) => (rss - before[index]) / 2 ** 20) };
  },
});
