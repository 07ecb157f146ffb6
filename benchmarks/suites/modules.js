import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TWENTY, WAYS, bareEntry } from '../../test/packages/entries.mjs';
import { installed, installedNodes } from '../../tools/installed.js';
import { MITOGEN, OURS, PYTHON, withCandidates } from '../lib/candidates.js';
import { compare } from '../lib/compression.js';
import { DELAY_MS, overLink, pythonOverLink } from '../lib/link.js';
import { interleave, pairedRatio, report } from '../lib/measure.js';
import { median, quantile } from '../lib/statistics.js';
import { synthetic } from '../lib/synthetic.js';

const MODULES = 100;
/** Milliseconds without work between the start of a process and its load. */
const IDLE_MS = 100;
/** Packages of more modules than this are to load no slower than from the disk. */
const LARGE = 50;
/** What every first module of a child costs. */
const EMPTY = 'nothing';
const script = (name) => fileURLToPath(new URL(`../lib/${name}`, import.meta.url));
const output = (command, ...args) => execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

/** Loading modules in a child: real packages beside the local disk, over a slow link, and many modules beside Mitogen. */
export async function modules(notes, { extent }) {
  const { problem } = installed('packages');
  if (problem !== undefined) {
    notes.push(`modules is left out: ${problem}`);
    return [];
  }
  const { nodes } = installedNodes();
  const counter = nodes.find(({ name }) => name === 'node-24')?.path;
  const names = [EMPTY, ...(extent === 'quick' ? TWENTY.slice(0, 4) : TWENTY)];
  const loads = names.flatMap((name) => WAYS.map((way) => ({ name, way, url: bareEntry(name, way).href })));
  for (const load of loads) load.evaluated = counter && Number(output(counter, script('count-modules.mjs'), load.way, load.url));
  const sendable = await withCandidates([OURS], notes, ({ [OURS]: ours }) => thoseThatLoad(ours, loads, notes));
  const versions = extent === 'full' && nodes.length > 0 ? nodes : [{ version: process.version, path: process.execPath }];
  const tables = [];
  for (const { version, path } of versions) tables.push(await besideDisk(version, path, sendable, notes, extent));
  tables.push(await overSlowLink(extent === 'full' ? sendable : sendable.filter(({ way }) => way === 'import'), notes), ...(await besideMitogen(notes)), await compressions(sendable));
  return tables;
}

/** What fails is left out, and said. */
async function thoseThatLoad(ours, loads, notes) {
  const able = [];
  for (const load of loads) {
    try {
      await ours.ask('load', { url: load.url });
      able.push(load);
    } catch (error) {
      notes.push(`${load.name}, ${load.way} does not load: ${error.message.split('\n')[0]}`);
    }
  }
  return able;
}

/**
 * Each package in a fresh child that has answered a call, beside a fresh process that loads it from the disk. Both have
 * been idle for as long: a processor that has just started a process is faster at what follows than one that comes back
 * from a pause, by 5 to 10 % here, and it is the child that has to pause, until its second thread has started. The first
 * load of a master is `cold`, and in no median.
 */
async function besideDisk(version, node, loads, notes, extent) {
  const rows = [];
  const cycles = extent === 'full' ? 9 : 5;
  await withCandidates([OURS], notes, async ({ [OURS]: ours }) => {
    for (const { name, way, url, evaluated } of loads) {
      const cold = await withCandidates([OURS], notes, ({ [OURS]: fresh }) => fresh.ask('load', { url, nodePath: [node] }));
      let sent;
      const { child, disk } = await interleave({
        child: async () => {
          sent = await ours.ask('load', { url, nodePath: [node], idleMs: IDLE_MS });
          return sent.ms;
        },
        disk: () => Number(output(node, script('disk-load.cjs'), way, url, String(IDLE_MS))),
      }, { cycles, seconds: 20 });
      rows.push({ name: `${name}, ${way}`, median: median(child), low: quantile(child, 0.25), high: quantile(child, 0.75), disk: median(disk), ratio: pairedRatio(child, disk), cold: cold.ms, sent: sent.modules, evaluated, kb: sent.bytes / 1000, requests: sent.requests });
    }
  });
  const ratios = rows.filter(({ name }) => !name.startsWith(EMPTY)).map(({ ratio }) => ratio);
  const all = geometricMean(ratios);
  const large = rows.filter(({ sent }) => sent > LARGE);
  const ofLarge = geometricMean(large.map(({ ratio }) => ratio));
  return {
    title: `Loading packages in a child of Node ${version}, beside its local disk`,
    unit: 'ms',
    columns: { median: 'child', low: 'lower', high: 'upper', disk: 'disk', ratio: 'child/disk', cold: 'cold', sent: 'modules sent', evaluated: 'used', kb: 'KB sent', requests: 'requests' },
    rows,
    summary: `child/disk: geometric mean ${all.toFixed(2)}, of the ${large.length} loads of more than ${LARGE} modules ${ofLarge.toFixed(2)}, median ${median(ratios).toFixed(2)}, ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
    targets: [{ than: `disk, geometric mean of more than ${LARGE} modules`, atMost: 1, got: ofLarge, met: ofLarge <= 1 }, slowest(large, { atMost: 1 }), worst('requests', rows.map(({ requests }) => requests), { atMost: 0 })],
  };
}

/** This Node by a command that the master does not know it by: what is reached over the link gets no code caches either. */
const WITHOUT_CODE_CACHES = ['env', process.execPath];

/** The same over a link that takes DELAY_MS each way: how many round trips does a load take? */
async function overSlowLink(loads, notes) {
  const nodePath = overLink(process.execPath);
  const rows = [];
  await withCandidates([OURS], notes, async ({ [OURS]: ours }) => {
    for (const { name, way, url } of loads) {
      // The better of two, since it is not the machine that is measured here.
      const near = await bestOf(2, () => ours.ask('load', { url, nodePath: WITHOUT_CODE_CACHES }));
      const far = await bestOf(2, () => ours.ask('load', { url, nodePath }));
      rows.push({ name: `${name}, ${way}`, median: far.ms, near: near.ms, empty: far.emptyMs, trips: roundTrips(far, near) });
    }
  });
  return {
    title: `Loading packages in a child behind a link of ${DELAY_MS} ms each way`,
    unit: 'ms',
    columns: { median: 'load', near: 'without link', empty: 'empty call', trips: 'round trips' },
    rows,
    summary: `round trips: median ${median(rows.map(({ trips }) => trips)).toFixed(2)}, at most ${Math.max(...rows.map(({ trips }) => trips)).toFixed(2)}`,
    targets: [worst('round trips', rows.map(({ trips }) => trips), { under: 2 })],
  };
}

async function bestOf(count, load) {
  const loads = [];
  for (let index = 0; index < count; index++) loads.push(await load());
  return { ms: Math.min(...loads.map(({ ms }) => ms)), emptyMs: Math.min(...loads.map(({ emptyMs }) => emptyMs)) };
}

/** An empty call takes one, too. */
const roundTrips = (far, near) => (far.ms - near.ms) / (far.emptyMs - near.emptyMs);

/** One package of many modules, in the form of each. */
async function besideMitogen(notes) {
  const { close, python, url } = synthetic(MODULES);
  try {
    return await withCandidates([OURS, MITOGEN], notes, async ({ [OURS]: ours, [MITOGEN]: mitogen }) => {
      const run = async (title, nodePath, pythonPath) => {
        const trips = {};
        const block = (name, ask) => async () => {
          const { ms, emptyMs } = await ask();
          (trips[name] ??= []).push(ms / emptyMs);
          return ms;
        };
        const figures = await interleave({
          [OURS]: block(OURS, () => ours.ask('load', { url, nodePath })),
          ...(mitogen && { [MITOGEN]: block(MITOGEN, () => mitogen.ask('load', { ...python, python_path: pythonPath })) }),
        }, { cycles: 5, seconds: 20 });
        return { ...report({ title, unit: 'ms', figures, targets: [{ than: MITOGEN, under: 1 }] }), trips };
      };
      const near = await run(`A package of ${MODULES} modules in a fresh child`, [process.execPath], [PYTHON]);
      const far = await run(`The same behind a link of ${DELAY_MS} ms each way`, overLink(process.execPath), pythonOverLink(PYTHON));
      return [near, far].map(({ trips: _, ...table }) => table);
    });
  } finally {
    close();
  }
}

/** Ways to compress what is sent for a package, over all of them. */
async function compressions(loads) {
  const rows = compare(loads.map(({ url }) => url));
  return {
    title: `Compressing what the ${loads.length} loads send`,
    unit: 'MB, ms',
    columns: { mb: 'MB', part: 'part of raw', median: 'ms', undo: 'ms to undo' },
    rows,
    targets: [],
  };
}

const geometricMean = (values) => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

/** A target for each of some loads: the slowest of them beside the disk by name, and how many miss, which no mean shows. */
function slowest(loads, { atMost }) {
  const { name, ratio } = loads.reduce((worse, load) => (load.ratio > worse.ratio ? load : worse));
  const misses = loads.filter((load) => load.ratio > atMost).length;
  return { than: `disk, the slowest of these loads (${name}; ${misses} of ${loads.length} miss)`, atMost, got: ratio, met: ratio <= atMost };
}

/** A target for the largest of some figures. */
function worst(than, values, bound) {
  const got = Math.max(...values);
  return { than, ...bound, got, met: bound.under === undefined ? got <= bound.atMost : got < bound.under };
}
