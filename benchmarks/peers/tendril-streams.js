// Tendril, for the suites of streams: a master in this process, and a chain of contexts below it.
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { firstValueFrom, lastValueFrom, take, takeWhile, timeout } from 'rxjs';
import { Master, eachBuffered, stream } from '../../dist/index.js';
import { resident as residentOf } from '../lib/processes.js';
import * as tasks from '../stream-tasks.js';
import { pause, serve } from './driver.js';

const MAX_TURNS = 600;
const master = new Master({ logger: false });
const contexts = [];

async function chain(depth) {
  while (contexts.length < depth) {
    const context = master.local(contexts.length === 0 ? {} : { via: contexts.at(-1) });
    contexts.push(context);
    await firstValueFrom(context.call(tasks.left));
  }
  return contexts[depth - 1];
}

function resident() {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage.rss();
}

async function* own() {
  for (let value = 0; ; value++) {
    if (value % 16 === 15) await pause(0);
    yield value;
  }
}

/** Everything that calls could have left behind, here and in each context. */
async function leftBehind() {
  const there = [];
  for (const context of contexts) {
    let found = await firstValueFrom(context.call(tasks.left));
    // What was cancelled last is on its way.
    for (let turn = 0; turn < MAX_TURNS && found.begun > found.ended; turn++) found = await firstValueFrom(context.call(tasks.left));
    there.push(found);
  }
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  return [{ handles: master.router.handleCount, timers, begun: 0, ended: 0, rss: resident() }, ...there];
}

const shared = new AbortController();

/** Opens a streamed call and ends it at a random moment in a random way; `done` is called when it is over here. */
function openAndCancel(context, done) {
  const way = Math.floor(Math.random() * 7);
  const [call, fn, ...args] = [
    [context, tasks.numbers],
    [context, tasks.ticking],
    [context.with({ signal: shared.signal }), tasks.numbers],
    [context.with({ deadline: 1 + Math.random() * 20 }), tasks.ticking],
    [context, tasks.consumed, stream(own())],
    [context.with({ window: { values: 4 } }), tasks.numbers],
    [context, tasks.numbers],
  ][way];
  let source = call.call(fn, ...args);
  if (way === 5) source = source.deliveries();
  if (way === 6) source = source.pipe(timeout(1 + Math.random() * 20));
  if (Math.random() < 0.3) source = source.pipe(take(1 + Math.floor(Math.random() * 300)));
  const subscription = source.subscribe({ error: () => {} });
  subscription.add(done);
  const moment = Math.random();
  if (moment < 0.2) subscription.unsubscribe();
  else if (moment < 0.4) queueMicrotask(() => { subscription.unsubscribe(); });
  else if (moment < 0.6) setImmediate(() => { subscription.unsubscribe(); });
  else setTimeout(() => { subscription.unsubscribe(); }, Math.random() * 20);
}

await serve(
  {
    /**
     * MiB that each process of a chain grows by at most while the last one sends and the master reads slowly; with `collect`
     * without garbage: what is held.
     */
    async slowConsumer({ depth, size, seconds, everyMs, how, collect }) {
      const context = await chain(depth);
      const pids = [process.pid, ...(await Promise.all(contexts.slice(0, depth).map((each) => firstValueFrom(each.call(tasks.pid)))))];
      const look = async () => {
        if (collect) {
          resident();
          await Promise.all(contexts.slice(0, depth).map((each) => firstValueFrom(each.call(tasks.collect))));
        }
        return pids.map(residentOf);
      };
      const before = await look();
      const most = [...before];
      const end = performance.now() + seconds * 1000;
      const sampling = (async () => {
        while (performance.now() < end) {
          await pause(collect ? 500 : 100);
          for (const [index, rss] of (await look()).entries()) most[index] = Math.max(most[index], rss);
        }
      })();
      let read = 0;
      const work = async (bytes) => {
        if (bytes.length !== size) throw new Error('a value of another size');
        read++;
        await pause(everyMs);
      };
      const values = context.call(tasks.bytes, size);
      if (how === 'for await') {
        for await (const bytes of values) {
          await work(bytes);
          if (performance.now() >= end) break;
        }
      } else await lastValueFrom(values.pipe(eachBuffered(work), takeWhile(() => performance.now() < end)), { defaultValue: 0 });
      await sampling;
      return { read, growth: most.map((rss, index) => (rss - before[index]) / 2 ** 20) };
    },

    /** Opens and cancels so many calls; seconds that it takes. */
    async cancel({ depth, count, inFlight }) {
      const context = await chain(depth);
      const begunAt = performance.now();
      await new Promise((resolve) => {
        let begun = 0;
        let ended = 0;
        const next = () => {
          begun++;
          openAndCancel(context, () => {
            if (++ended === count) resolve();
            else if (begun < count) setImmediate(next);
          });
        };
        for (let each = 0; each < inFlight; each++) next();
      });
      return (performance.now() - begunAt) / 1000;
    },

    async left() {
      return { contexts: await leftBehind(), listeners: getEventListeners(shared.signal, 'abort').length, calls: contexts.reduce((sum, each) => sum + each.stats().calls, 0) };
    },
  },
  () => master.shutdown(),
);
