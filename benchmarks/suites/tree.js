import { seededRandom } from '../../dist/core/broker/seeded.js';
import { encodeFrame, FrameDecoder } from '../../dist/core/wire/frame.js';
import { VirtualBroker } from '../../dist/core/broker/virtual-broker.js';
import { Router } from '../../dist/core/routing/router.js';
import { Stream } from '../../dist/core/routing/stream.js';
import { Traffic } from '../../dist/parent/routing/traffic.js';
import { interleave, interruption, report } from '../lib/measure.js';
import { SimulatedTree } from '../lib/simulated-tree.js';
import { EMPTY, NEVER } from 'rxjs';

const CONTEXTS = 200_000;
/** Contexts that live at a time, and how many begin at once. Where they begin is drawn: many have children, with blocks of their own. */
const ALIVE = 1000;
const WAVE = 500;
const MAX_DEPTH = 6;
/** Time between waves: an ID rests for a minute, and there are 65,535. */
const PAUSE_MS = 2000;
const QUARANTINE_MS = 60_000;

/** Contexts of one tree that come and go, by the hundred thousand. */
function churn() {
  const random = seededRandom(7);
  const tree = new SimulatedTree();
  let alive = [];
  let begun = 0;
  let failed = 0;
  const start = performance.now();
  while (begun < CONTEXTS) {
    if (interruption.asked) throw new Error('interrupted');
    const parents = [tree.root, ...alive.filter(({ depth }) => depth < MAX_DEPTH)];
    for (let count = 0; count < WAVE; count++) {
      // Most of them below few contexts, as accounts are below hosts.
      const parent = parents[Math.floor(random() ** 3 * parents.length)];
      tree.connect(parent, (node) => {
        begun++;
        alive.push(node);
      }, () => { failed++; });
    }
    tree.broker.run();
    // Dropping one drops its subtree.
    for (let excess = alive.length - ALIVE; excess > 0; excess = alive.length - ALIVE) {
      for (let count = 0; count < Math.max(1, excess / 4); count++) {
        const node = alive[Math.floor(random() * alive.length)];
        if (node.alive) tree.drop(node);
      }
      tree.broker.run();
      alive = alive.filter((node) => node.alive);
    }
    tree.broker.advance(PAUSE_MS);
  }
  for (const node of [...tree.root.children]) tree.drop(node);
  tree.broker.run();
  tree.broker.advance(QUARANTINE_MS);
  return { rate: begun / ((performance.now() - start) / 1000), left: tree.left, failed };
}

const FRAMES = 2000;
const ROUNDS = 50;

/** Nanoseconds of forwarding a small message from one child to another. */
function forwarding(isCounted) {
  const broker = new VirtualBroker();
  const router = new Router(broker, { id: 0, parentIds: [], maxMessageSize: 1024 });
  if (isCounted) new Traffic(router, { logs: { burst: 1, perSecond: 1 }, warn: () => {} });
  const link = { chunks: NEVER, volatile: false, pendingBytes: 0, drained: EMPTY, write: () => {}, end: () => {}, destroy: () => {} };
  const [from, to] = [1, 2].map((id) => {
    const stream = new Stream(broker, id, 1024);
    router.table.add(id, stream);
    router.add(stream);
    router.open(stream, link);
    return stream;
  });
  const bytes = Buffer.concat(Array.from({ length: FRAMES }, () => encodeFrame({ dstId: 2, srcId: 1, handle: 1000, replyTo: 0, data: Buffer.alloc(16) })));
  const decoder = new FrameDecoder(1024);
  const run = () => {
    router.receive(decoder.push(bytes, false), from);
    to.flush();
    broker.run();
  };
  return () => {
    const start = performance.now();
    for (let round = 0; round < ROUNDS; round++) run();
    return ((performance.now() - start) * 1e6) / (ROUNDS * FRAMES);
  };
}

/** The tree itself, without processes: what comes and goes in it, and what a hop costs. */
export async function tree() {
  const { rate, left, failed } = churn();
  const blocks = { counted: forwarding(true), 'not counted': forwarding(false) };
  const figures = await interleave(Object.fromEntries(Object.entries(blocks).map(([name, block]) => [name, () => Promise.resolve(block())])), { cycles: 40, seconds: 10, warmUp: 5 });
  return [
    report({ title: `${CONTEXTS.toLocaleString('en')} simulated contexts that come and go in one tree, ${ALIVE.toLocaleString('en')} at a time`, unit: 'contexts/s', figures: { tendril: [rate] } }),
    report({ title: 'What is left of them: streams, routes, names, IDs, timers; and failures', unit: 'things', figures: { tendril: [left + failed] }, targets: [{ atMost: 0 }] }),
    report({ title: 'A small message from one child to another, at their parent, without the operating system', unit: 'ns', ours: 'counted', figures }),
    report({ title: 'What counting adds to that', unit: 'ns', figures: { tendril: figures.counted.map((counted, cycle) => counted - figures['not counted'][cycle]) }, targets: [{ atMost: 25 }] }),
  ];
}
