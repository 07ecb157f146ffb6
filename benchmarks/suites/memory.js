import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { MITOGEN, OURS, withCandidates } from '../lib/candidates.js';
import { report } from '../lib/measure.js';
import { memory } from '../lib/processes.js';

const ROUNDS = 3;
const SETTLE_MS = 300;

/** Memory of an idle child, alone on the machine as far as PSS is concerned. */
export function idleMemory(notes) {
  return withCandidates([OURS, MITOGEN], notes, async (candidates) => {
    const rss = {};
    const pss = {};
    const take = (name, pids) => {
      const found = memory(pids);
      (rss[name] ??= []).push(found.rss);
      (pss[name] ??= []).push(found.pss);
    };
    for (let round = 0; round < ROUNDS; round++) {
      for (const [calls, when] of [[0, 'connected'], [3, 'has answered a call']]) {
        for (const [name, candidate] of Object.entries(candidates)) {
          const pids = await candidate.ask('child', { calls });
          await settled();
          take(name === OURS && calls > 0 ? OURS : `${name}, ${when}`, pids);
          await candidate.ask('endChildren');
        }
      }
      const bare = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9)'], { stdio: 'ignore' });
      await settled();
      take('node -e', [bare.pid]);
      const over = once(bare, 'exit');
      bare.kill('SIGKILL');
      await over;
    }
    return [report({ title: 'Resident memory of an idle child (tendril: it has answered a call)', unit: 'MB', figures: rss }), report({ title: 'The same, with shared pages counted by share (PSS)', unit: 'MB', figures: pss })];
  });
}

const settled = () => new Promise((resolve) => { setTimeout(resolve, SETTLE_MS); });
