// Tendril, from ../dist: a master in this process, children as they are asked for.
import os from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { firstValueFrom, lastValueFrom, tap } from 'rxjs';
import { Master, stream } from '../../dist/index.js';
import { Adder, callUp } from '../service-tasks.js';
import { add, consume, hang, sink, source } from '../tasks.js';
import { quantile } from '../lib/statistics.js';
import { median, microseconds, oneAtATime, pause, pump, rate, serve } from './driver.js';
import { descendants } from '../lib/processes.js';

const master = new Master({ logger: false });

/** The child for services: calls in one that has loaded the library cost a little more. */
let server;
async function serving() {
  if (server === undefined) {
    master.serve(Adder);
    server = master.local({ name: 'server' });
    await firstValueFrom(server.service(Adder).add(1, 2));
  }
  return server;
}

/** The child for everything that needs a warm one. */
let worker;
async function warm() {
  worker ??= master.local({ name: 'worker' });
  await firstValueFrom(worker.call(add, 1, 2));
  return worker;
}

/** Bytes of resident memory, without garbage. */
async function resident() {
  // Not before it is wanted: V8 refuses a code cache that was made with other flags than those of the child.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  await pause(300);
  collect();
  await pause(50);
  return process.memoryUsage.rss();
}

/** Chains of contexts, each by way of the one before it, by their length; and whether user code spins in the first. */
const chains = new Map();
async function chain(depth, spins = false) {
  const key = `${depth} ${spins}`;
  let last = chains.get(key);
  if (last === undefined) {
    const contexts = [];
    for (let level = 0; level < depth; level++) contexts.push(master.local(level === 0 ? {} : { via: contexts[level - 1] }));
    last = contexts.at(-1);
    await firstValueFrom(last.call(add, 1, 2));
    if (spins) contexts[0].call(hang).subscribe({ error: () => {} });
    chains.set(key, last);
  }
  return last;
}

/** A context behind a real sshd, by its configuration. */
const overSsh = new Map();
async function sshContext({ config }) {
  let context = overSsh.get(config);
  if (context === undefined) {
    overSsh.set(config, (context = master.ssh({ host: 'bench', sshConfig: config })));
    await firstValueFrom(context.call(add, 1, 2));
  }
  return context;
}
const contextFor = ({ depth, ssh }) => (ssh ? sshContext(ssh) : chain(depth));

/** MB/s of what moves so many bytes. */
async function speed(bytes, work) {
  const begun = microseconds();
  await lastValueFrom(work);
  return rate(bytes, microseconds() - begun);
}

const raise = (error) => { throw error; };

/** An intermediate with two children: one that sends, one that answers. */
let family;
async function siblings() {
  if (family === undefined) {
    const via = master.local();
    family = [master.local({ via }), master.local({ via })];
    await Promise.all(family.map((context) => firstValueFrom(context.call(add, 1, 2))));
  }
  return family;
}

/** MB per second of a stream of values from a context. */
async function streamFrom(context, size, count) {
  const begun = microseconds();
  let received = 0;
  await new Promise((resolve, reject) => {
    context.call(source, size, count).subscribe({ next: (bytes) => { received += bytes.length; }, complete: resolve, error: reject });
  });
  if (received !== size * count) throw new Error(`${received} bytes came instead of ${size * count}`);
  return rate(received, microseconds() - begun);
}

/** Microseconds of small calls, one at a time: until `transfer` of so many bytes has ended if there is one, else `count` of them. */
async function latencies(context, count, transfer, bytes) {
  let over = false;
  const started = microseconds();
  const ended = transfer?.then(() => { over = true; });
  const times = [];
  while (transfer ? !over : times.length < count) {
    const begun = microseconds();
    await firstValueFrom(context.call(add, 1, 2));
    times.push(microseconds() - begun);
  }
  await ended;
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), calls: times.length, bulk: rate(bytes ?? 0, microseconds() - started) };
}

/** Milliseconds from the start of a connection to the first answer of `call`. */
async function firstAnswer(make, call) {
  const begun = microseconds();
  const context = make();
  await firstValueFrom(call(context));
  const ms = (microseconds() - begun) / 1000;
  await context.shutdown();
  return ms;
}

await serve(
  {
    async roundTrip({ count }) {
      const context = await warm();
      return oneAtATime(count, (index) => firstValueFrom(context.call(add, index, 1)));
    },

    async service({ count }) {
      const client = (await serving()).service(Adder);
      return oneAtATime(count, (index) => firstValueFrom(client.add(index, 1)));
    },

    async servicePipelined({ count, depth }) {
      const client = (await serving()).service(Adder);
      return pump(count, depth, (index, done) => client.add(index, 1).subscribe({ complete: done, error: raise }));
    },

    /** Calls of a function in the child that has the service. */
    async besideService({ count }) {
      const context = await serving();
      return oneAtATime(count, (index) => firstValueFrom(context.call(add, index, 1)));
    },

    async besidePipelined({ count, depth }) {
      const context = await serving();
      return pump(count, depth, (index, done) => context.call(add, index, 1).subscribe({ complete: done, error: raise }));
    },

    async serviceUp({ count }) {
      const context = await serving();
      return firstValueFrom(context.call(callUp, count));
    },

    async hops({ count, depth }) {
      const context = await chain(depth);
      return oneAtATime(count, (index) => firstValueFrom(context.call(add, index, 1)));
    },

    async through({ count, spins }) {
      const context = await chain(2, spins);
      return oneAtATime(count, (index) => firstValueFrom(context.call(add, index, 1)));
    },

    async throughPipelined({ count, depth, spins }) {
      const context = await chain(2, spins);
      return pump(count, depth, (index, done) => context.call(add, index, 1).subscribe({ complete: done, error: raise }));
    },

    async pipelined({ count, depth }) {
      const context = await warm();
      return pump(count, depth, (index, done) => context.call(add, index, 1).subscribe({ complete: done, error: raise }));
    },

    async up({ size, count, depth }) {
      const context = await warm();
      const bytes = Buffer.alloc(size, 7);
      return (await pump(count, depth, (index, done) => context.call(sink, bytes).subscribe({ complete: done, error: raise }))) * size / 1e6;
    },

    async down({ size, count }) {
      return streamFrom(await warm(), size, count);
    },

    /** As down, from a context that is so many hops away. */
    async relayed({ size, count, depth }) {
      return streamFrom(await chain(depth), size, count);
    },

    /** As down, over ssh. */
    async overSsh({ size, count, config }) {
      return streamFrom(await sshContext({ config }), size, count);
    },

    /** Small calls to a context: while nothing else happens, or while it sends or gets so many bytes. */
    async fairness({ kind, size, count, calls }) {
      const context = await warm();
      if (kind === 'idle') return latencies(context, calls);
      if (kind === 'down') return latencies(context, calls, streamFrom(context, size, count), size * count);
      const values = async function* () {
        const bytes = Buffer.alloc(size, 7);
        for (let sent = 0; sent < count; sent++) yield bytes;
      };
      return latencies(context, calls, firstValueFrom(context.call(consume, stream(values()))), size * count);
    },

    /** The same by way of a context through which another one below it sends. */
    async fairnessThrough({ kind, size, count, calls }) {
      const [sending, answering] = await siblings();
      return latencies(answering, calls, kind === 'idle' ? undefined : streamFrom(sending, size, count), size * count);
    },

    async push({ bytes, from, to, ...where }) {
      const context = await contextFor(where);
      return speed(bytes, context.push(from, to));
    },

    async pull({ bytes, from, to, ...where }) {
      const context = await contextFor(where);
      return speed(bytes, context.pull(from, to));
    },

    async exec({ bytes, ...where }) {
      const context = await contextFor(where);
      const { stdout } = context.exec('head', ['-c', String(bytes), '/dev/zero']);
      let received = 0;
      const got = await speed(bytes, stdout.pipe(tap((data) => { received += data.length; })));
      if (received !== bytes) throw new Error(`${received} bytes came instead of ${bytes}`);
      return got;
    },

    connect: () => firstAnswer(() => master.local(), (context) => context.call(os.uptime)),
    connectModule: () => firstAnswer(() => master.local(), (context) => context.call(add, 1, 2)),
    // With the user's configuration read through `ssh -G`, as by default: it is part of the price.
    connectSsh: ({ config }) => firstAnswer(() => master.ssh({ host: 'bench', sshConfig: config }), (context) => context.call(os.uptime)),

    /**
     * Loads a module in a child that has answered a call and has had the time to start its second thread: milliseconds
     * until its answer, those of an empty call, and what was sent.
     */
    async load({ url, nodePath = [process.execPath], emptyCalls = 3, idleMs = 100 }) {
      const context = master.local({ nodePath });
      await firstValueFrom(context.call(os.uptime));
      await pause(idleMs);
      const empty = [];
      for (let call = 0; call < emptyCalls; call++) {
        const begun = microseconds();
        await firstValueFrom(context.call(os.uptime));
        empty.push((microseconds() - begun) / 1000);
      }
      const begun = microseconds();
      await firstValueFrom(context.module(url).loaded());
      const ms = (microseconds() - begun) / 1000;
      const { loads: modules, bytes, requests } = master.stats().get(context.id);
      await context.shutdown();
      return { ms, emptyMs: median(empty), modules, bytes, requests };
    },

    /** Process ids of a new child that has answered `calls` calls, and lives until the next command. */
    async child({ calls }) {
      const before = descendants(process.pid);
      const context = master.local();
      await firstValueFrom(context.connected);
      for (let call = 0; call < calls; call++) await firstValueFrom(context.call(add, 1, 2));
      return descendants(process.pid).filter((pid) => !before.includes(pid));
    },

    async endChildren() {
      worker = undefined;
      await Promise.all(master.contexts.map((context) => context.shutdown()));
    },

    /** Milliseconds until `count` children are connected that are made at once. */
    async connectMany({ count, maxHandshakes }) {
      const fleet = new Master({ logger: false, ...(maxHandshakes && { maxHandshakes }) });
      const begun = microseconds();
      await Promise.all(Array.from({ length: count }, () => firstValueFrom(fleet.local().connected)));
      const ms = (microseconds() - begun) / 1000;
      await fleet.shutdown();
      return ms;
    },

    /** KiB of resident memory that each of `count` idle children takes here. */
    async residentPerChild({ count }) {
      const fleet = new Master({ logger: false });
      const connect = (some) => Promise.all(Array.from({ length: some }, () => firstValueFrom(fleet.local().connected)));
      // What is loaded and compiled once is not what a child costs.
      await connect(10);
      const before = await resident();
      await connect(count);
      const after = await resident();
      await fleet.shutdown();
      return (after - before) / count / 1024;
    },

    /** Milliseconds from SHUTDOWN until a child is dead whose main thread hangs. */
    async hung() {
      const context = master.local();
      await firstValueFrom(context.call(add, 1, 2));
      context.call(hang).subscribe({ error: () => {} });
      await pause(300);
      const begun = microseconds();
      await context.shutdown();
      return (microseconds() - begun) / 1000;
    },
  },
  () => master.shutdown(),
);
