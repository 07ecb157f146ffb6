// npm run bench [-- suite ...]: measures Tendril beside its peers. What the rows mean: benchmarks/README.md.
import { mkdirSync, writeFileSync } from 'node:fs';
import { machine } from './lib/machine.js';
import { interruption } from './lib/measure.js';
import { figure, print } from './lib/print.js';
import { bulk } from './suites/bulk.js';
import { bootstrapBytes } from './suites/bytes.js';
import { cancel } from './suites/cancel.js';
import { connect } from './suites/connect.js';
import { fairness } from './suites/fairness.js';
import { files } from './suites/files.js';
import { fleet } from './suites/fleet.js';
import { hops } from './suites/hops.js';
import { hung } from './suites/hung.js';
import { idleMemory } from './suites/memory.js';
import { modules } from './suites/modules.js';
import { pipelined } from './suites/pipelined.js';
import { relayBulk } from './suites/relay-bulk.js';
import { roundTrip } from './suites/round-trip.js';
import { slowConsumer } from './suites/slow-consumer.js';
import { services } from './suites/services.js';
import { ssh } from './suites/ssh.js';
import { tree } from './suites/tree.js';

const SUITES = { 'round-trip': roundTrip, pipelined, bulk, connect, ssh, hung, memory: idleMemory, bytes: bootstrapBytes, modules, tree, fleet, hops, fairness, 'relay-bulk': relayBulk, files, 'slow-consumer': slowConsumer, cancel, services };

// It makes every start of Node 20 slower by 80 ms, and it is a setting of the machine.
for (const name of ['NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS', 'NODE_V8_COVERAGE']) delete process.env[name];

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { interruption.asked = true; });

const words = process.argv.slice(2);
const extents = ['--quick', '--full'];
const extent = words.find((word) => extents.includes(word))?.slice(2);
const named = words.filter((word) => !extents.includes(word));
const unknown = named.filter((name) => !Object.hasOwn(SUITES, name));
if (unknown.length > 0) {
  console.error(`there is no suite ${unknown.join(', ')}; the suites are ${Object.keys(SUITES).join(', ')}`);
  process.exit(2);
}

const begun = performance.now();
const about = machine();
console.log(Object.entries(about).filter(([, value]) => value !== undefined).map(([name, value]) => `${name} ${value}`).join(', '));
console.log('medians of interleaved blocks, with their quartiles; ratios are medians of paired ratios');

const tables = [];
const notes = new Set();
for (const [name, suite] of Object.entries(SUITES)) {
  if (interruption.asked || (named.length > 0 && !named.includes(name))) continue;
  const heard = [];
  try {
    for (const table of await suite(heard, { extent })) {
      tables.push({ suite: name, ...table });
      print(table);
    }
  } catch (error) {
    console.error(error);
    heard.push(`${name} failed: ${error.message.split('\n')[0]}`);
    process.exitCode = 1;
  }
  for (const note of heard) if (!notes.has(note)) {
    notes.add(note);
    console.log(`\n! ${note}`);
  }
}

const targets = tables.flatMap(({ title, targets: some }) => some.map((target) => ({ title, ...target })));
const missed = targets.filter(({ met }) => !met);
console.log(`\n${targets.length - missed.length} of ${targets.length} targets met, in ${figure((performance.now() - begun) / 1000)} s`);
for (const { title, than, got } of missed) console.log(`  MISSED: ${title}: ${figure(got)}${than ? ` x ${than}` : ''}`);

if (interruption.asked) process.exit(130);

const file = new URL(`results/${named.length === 0 ? 'latest' : 'partial'}.json`, import.meta.url);
mkdirSync(new URL('.', file), { recursive: true });
writeFileSync(file, `${JSON.stringify({ machine: about, notes: [...notes], tables }, (key, value) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value), 2)}\n`);
