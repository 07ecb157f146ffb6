import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { defaultIfEmpty, lastValueFrom, share, shareReplay, toArray } from 'rxjs';
import type { ConnectedContext } from 'tendril';
import * as grove from './fixtures/grove.mjs';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, startedProcesses, watchForLeaks, withTree } from './support/tree.ts';
import { plant } from './fixtures/plant.mjs';
import type { Branch } from './fixtures/plant.mjs';

type Four = [Branch, Branch, Branch, Branch];

const STATES = [['all of it well', false], ['user code that hangs in it', true]] as const;
/** The processes of a large tree take a while to start on a busy machine. */
const PATIENCE = 120_000;

function isAlive(pid: number): boolean {
  return startedProcesses().some((line) => line.startsWith(`${String(pid)} `));
}

/** Until none of the processes is there; what takes too long is for the timeout of the test. */
async function gone(pids: readonly number[]): Promise<void> {
  while (pids.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function ends(contexts: readonly ConnectedContext[]): Promise<unknown[]> {
  return Promise.all(contexts.map(async ({ closed }) => first(closed)));
}

describe.each(STATES)('a tree of 40 contexts, five deep, with %s', (_state, hung) => {
  watchForLeaks();

  it('ends with master.shutdown() (REFERENCE 134, 136, 257)', () =>
    withTree({ graceMs: 3000 }, async ({ master }) => {
      const branches = await plant(master, hung);
      const pids = branches.flatMap((branch) => branch.pids);
      expect(new Set(pids).size).toBe(40);
      const [zero, one, two, three] = branches as Four;
      const pending = [two.top, two.low, three.mid].map((context) => failure(context.call(tasks.hang)));
      const stream = failure(three.low.call(grove.endless));
      const mailbox = lastValueFrom(two.mid.handle<string>(5001).pipe(defaultIfEmpty('completed')));
      // The calls are under way: one that still loads its module on a busy machine counts as hanging (D-012), and does not wait
      // for those below it.
      await Promise.all([two, three].flatMap(({ top, mid, low }) => [top, mid, low]).map((context) => first(context.call(tasks.nothing))));
      await master.shutdown();
      // Whoever hangs ends itself, and those below it end by themselves; else each waits for what is below it.
      if (hung) await gone(pids);
      expect(startedProcesses()).toEqual([]);
      for (const error of await Promise.all([...pending, stream])) expect(error).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await mailbox).toBe('completed');
      expect(await ends([two, three].flatMap(({ top, mid, low }) => [top, mid, low]))).toEqual(Array(6).fill({ reason: 'shutdown', exit: { code: null, signal: 'SIGTERM' } }));
      if (!hung) return;
      expect(await ends([zero.top, zero.mid, zero.low, one.top, one.mid, one.low])).toMatchObject([
        { reason: 'shutdown', exit: { signal: 'SIGTERM' } },
        { reason: 'shutdown', exit: { signal: 'SIGTERM' } },
        { reason: 'shutdown' },
        { reason: 'shutdown', exit: { signal: 'SIGTERM' } },
        { reason: 'shutdown', exit: { signal: 'SIGTERM' } },
        { reason: 'shutdown', exit: { signal: 'SIGKILL' } },
      ]);
    }), PATIENCE);

  it('ends when the master is killed (REFERENCE 257)', async () => {
    const program = `
      import { Master } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      import { plant } from ${JSON.stringify(new URL('./fixtures/plant.mjs', import.meta.url).href)};
      const master = new Master({ logger: false, graceMs: 3000 });
      const branches = await plant(master, ${String(hung)});
      process.send(branches.flatMap(({ pids }) => pids));
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: process.env });
    const ended = Promise.all([once(child, 'exit'), once(child, 'disconnect')]);
    let pids: number[] = [];
    try {
      [pids] = (await once(child, 'message')) as [number[]];
      expect(pids.every(isAlive)).toBe(true);
    } finally {
      child.kill('SIGKILL');
    }
    await ended;
    await gone(pids);
  }, PATIENCE);

  it('loses the subtree of one that is killed, and nothing else (REFERENCE 134, 138)', () =>
    withTree({ graceMs: 3000 }, async ({ master }) => {
      const branches = await plant(master, hung);
      const [zero, one, two, three] = branches as Four;
      const [topPid = 0] = zero.pids;
      await first(zero.low.call(grove.open));
      // From a sibling of the one that is killed, a cousin, and one far below.
      const visiting = [one.top, two.mid, three.low].map((context) => context.call(grove.visit, zero.low).pipe(shareReplay({ bufferSize: 2, refCount: true })));
      const visits = visiting.map((visit) => lastValueFrom(visit.pipe(toArray())));
      expect(await Promise.all(visiting.map((visit) => first(visit)))).toEqual(['sent', 'sent', 'sent']);
      const pending = [zero.top, zero.low].map((context) => failure(context.call(tasks.hang)));
      const stream = failure(zero.low.call(grove.endless));
      const mailbox = failure(zero.low.handle(5001));
      const living = two.low.call(grove.endless).pipe(share());
      const lives = living.subscribe();
      process.kill(topPid, 'SIGKILL');
      for (const error of await Promise.all([...pending, stream, mailbox])) expect(error).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await Promise.all(visits)).toEqual(Array(3).fill(['sent', 'respondent-gone']));
      expect(await ends([zero.top, zero.mid, zero.low])).toMatchObject([{ reason: 'lost', exit: { signal: 'SIGKILL' } }, { reason: 'lost' }, { reason: 'lost' }]);
      await gone(zero.pids);
      const rest = [one, two, three];
      expect(rest.flatMap(({ pids }) => pids).every(isAlive)).toBe(true);
      // All of them answer, but for those that hang.
      const counts = await Promise.all(rest.flatMap(({ top, mid, low }) => [top, mid, ...(hung && low === one.low ? [] : [low])]).map((context) => first(context.call(grove.count))));
      expect(counts).toEqual(hung ? [2, 1, 2, 1, 7, 2, 1, 7] : [2, 1, 7, 2, 1, 7, 2, 1, 7]);
      // A stream from elsewhere goes on.
      expect(await first(living)).toBeGreaterThan(0);
      lives.unsubscribe();
      expect(master.contexts).toEqual(rest.flatMap(({ top, mid, low }) => [top, mid, low]));
    }), PATIENCE);
});
