import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { ADD_ROUTE, ALLOCATE_ID } from '../src/core/wire/handles.ts';
import { unidirectional } from '../src/parent/routing/edge-policy.ts';
import { LiveTree, say, sayGone } from '../test/support/live-tree.ts';
import type { VirtualNode } from '../test/support/virtual-tree.ts';
import { check } from './support.ts';
import { Story, TreeModel, collect } from './tree-model.ts';

const OPEN = 2000;
const REPLY = 0x2000_0000;
const MAX_CONTEXT_DEPTH = 10;
const QUARANTINE = 2000;
/** The longest way up a tree: its depth times its latency. */
const MAX_DELAY_MS = 50;
/** The name under which liars announce. */
const LIE = 'a lie';
/** So few that they are used again. */
const IDS = 60;
const MANY_IDS = 240;

const index = fc.nat(1000);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ does: fc.constant('connect' as const), at: index, deep: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('drop' as const), at: index }) },
  { weight: 3, arbitrary: fc.record({ does: fc.constant('send' as const), at: index, to: index }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: QUARANTINE }) }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('announce' as const), at: index, id: index }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('take back' as const), at: index, id: index }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('forge' as const), at: index, id: index, to: index }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('ask' as const), at: index, count: fc.nat(40) }) },
);
const trees = fc.record({ seed: fc.nat(), latencyMs: fc.constantFrom(0, 5), isUnidirectional: fc.boolean() });

function pick<T>(items: readonly T[], choice: number): T {
  return items[choice % items.length] as T;
}

/** An ID that a liar may name: mostly one that means something. */
function anId(tree: LiveTree, choice: number): number {
  return choice % 3 === 0 ? (choice / 3) % (IDS + 3) | 0 : pick(tree.made, (choice / 3) | 0).id;
}

function depthOf(node: VirtualNode): number {
  return node.lineage.length - 1;
}

/** A parent for the next context. */
function aParent(tree: LiveTree, choice: number, isDeep: boolean): VirtualNode {
  const able = tree.alive.filter((node) => depthOf(node) < MAX_CONTEXT_DEPTH);
  return isDeep ? able.reduce((deepest, node) => (depthOf(node) >= depthOf(deepest) ? node : deepest)) : pick(able, choice);
}

/** Sees that no two contexts have an ID, and that no hop hears of an ID again before its rest is over. */
class IdWatch {
  /** What was wrong: contexts begin where nothing can be thrown. */
  readonly faults: string[] = [];
  readonly #tree: LiveTree;

  constructor(tree: LiveTree) {
    this.#tree = tree;
    this.#watch(tree.root);
  }

  began(node: VirtualNode): void {
    // One that is cut off, and does not know it yet, is nobody's neighbour.
    const isCutOff = (other: VirtualNode): boolean => other.lineage.some(({ uplink }) => uplink?.lost === true);
    if (this.#tree.alive.some((other) => other.id === node.id && other !== node && !isCutOff(other))) this.faults.push(`two contexts are ${String(node.id)}`);
    this.#watch(node);
  }

  #watch({ id: hop, router }: VirtualNode): void {
    const { broker } = this.#tree;
    const removedAt = new Map<number, number>();
    const lies = new Set<number>();
    router.events.subscribe((event) => {
      if (event.type === 'route-added') {
        const restedMs = broker.now() - (removedAt.get(event.id) ?? -Infinity);
        if (event.name === LIE) lies.add(event.id);
        // The news of the end may have taken longer than that of the beginning.
        else if (restedMs < QUARANTINE - MAX_DELAY_MS) this.faults.push(`${String(hop)} hears of ${String(event.id)} again after ${String(restedMs)} ms`);
      }
      if (event.type === 'route-removed' && !lies.delete(event.id)) removedAt.set(event.id, broker.now());
    });
  }
}

/** What a child holds, its parent holds of its own parent. */
function expectGrantsNested(tree: LiveTree): void {
  for (const node of tree.alive) {
    if (node.parent === undefined || node.routing === undefined) continue;
    for (const child of node.children) for (let id = 1; id <= IDS; id++) if (node.routing.ids.holds(child.id, id)) expect([id, node.parent.routing?.ids.holds(node.id, id)]).toEqual([id, true]);
  }
}

describe('a tree whose contexts come and go', () => {
  it('has exactly the routes that the rules give, whoever lies, and delivers exactly what they let through (REFERENCE 6, 7, 8, 25, 26, 256)', () => {
    check(
      fc.property(trees, fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), (options, steps) => {
        const tree = new LiveTree({ ...options, ids: IDS, quarantineMs: QUARANTINE, edge: options.isUnidirectional ? unidirectional : undefined });
        const model = new TreeModel(tree.root, options.isUnidirectional);
        const story = new Story(tree);
        const ids = new IdWatch(tree);
        const received: string[] = [];
        const expected: string[] = [];
        const listen = (node: VirtualNode): void => {
          collect(node, OPEN, (srcId, text) => received.push(`${text} at ${String(node.id)} from ${String(srcId)}`));
        };
        const expectFate = (number: number, at: VirtualNode, srcId: number, dstId: number, from: VirtualNode | undefined): void => {
          const fate = model.fate(at, srcId, dstId, from);
          story.tell(`  which should be ${fate.kind}`);
          if (fate.kind === 'delivered') expected.push(`#${String(number)} at ${String(fate.to.id)} from ${String(srcId)}`);
        };
        listen(tree.root);
        story.check(() => {
          for (const [number, one] of steps.entries()) {
            const at = 'at' in one ? pick(tree.alive, one.at) : tree.root;
            const { parent } = at;
            const payload = Buffer.from(`#${String(number)}`);
            if (one.does === 'connect') {
              const above = aParent(tree, one.at, one.deep);
              story.tell(`a context begins below ${String(above.id)}`);
              const birth = tree.connect(above);
              tree.broker.run();
              if (birth.node) {
                ids.began(birth.node);
                model.connected(birth.node);
                listen(birth.node);
                story.tell(`  it is ${String(birth.node.id)}`);
              } else expect(birth.error).toMatchObject({ code: 'ERR_TENDRIL_NO_IDS' });
            } else if (one.does === 'wait') tree.broker.advance(one.ms);
            else if (one.does === 'send') {
              const to = pick(tree.made, one.to).id;
              story.tell(`${String(at.id)} sends #${String(number)} to ${String(to)}`);
              expectFate(number, at, at.id, to, undefined);
              at.router.send({ dstId: to, srcId: at.id, handle: OPEN, replyTo: 0, data: payload });
            } else if (parent === undefined) continue;
            else if (one.does === 'drop') {
              story.tell(`${String(at.id)} loses its parent ${String(parent.id)}`);
              model.dropped(at);
              at.uplink?.lose();
            } else if (one.does === 'announce') {
              const id = anId(tree, one.id);
              story.tell(`${String(at.id)} announces ${String(id)} to ${String(parent.id)}`);
              model.announces(at, id);
              say(at, parent, ADD_ROUTE, [id, LIE]);
            } else if (one.does === 'take back') {
              const id = anId(tree, one.id);
              story.tell(`${String(at.id)} tells ${String(parent.id)} that ${String(id)} is gone`);
              model.takesBack(at, id);
              sayGone(at, parent, id);
            } else if (one.does === 'forge') {
              const [srcId, dstId] = [anId(tree, one.id), pick(tree.made, one.to).id];
              story.tell(`${String(at.id)} sends #${String(number)} to ${String(dstId)} in the name of ${String(srcId)}`);
              expectFate(number, parent, srcId, dstId, at);
              at.inject(parent, { dstId, srcId, handle: OPEN, replyTo: 0, data: payload });
            } else {
              story.tell(`${String(at.id)} asks ${String(parent.id)} for ${String(one.count)} IDs`);
              say(at, parent, ALLOCATE_ID, one.count, { replyTo: REPLY });
            }
            tree.broker.run();
            for (const node of tree.alive) {
              const routes = new Map([...tree.routes(node)].map(([id, { remoteId }]) => [id, remoteId]));
              expect([node.id, routes]).toEqual([node.id, new Map([...model.table(node)].map(([id, { id: via }]) => [id, via]))]);
            }
            expect(received).toEqual(expected);
          }
          expectGrantsNested(tree);
          expect(ids.faults).toEqual([]);
          expect(tree.faults).toEqual([]);
        });
      }),
      120,
    );
  });

  it('settles everything that waits, and keeps every route of the honest, however events interleave (REFERENCE 136, 138, 245, 249, 256, 257)', () => {
    const event = fc.record({ afterMs: fc.nat(30), step });
    check(
      fc.property(trees, fc.array(event, { minLength: 1, maxLength: 80, size: 'max' }), (options, events) => {
        const born = (node: VirtualNode): void => {
          watch.began(node);
          listen(node);
        };
        const tree = new LiveTree({ ...options, ids: MANY_IDS, quarantineMs: QUARANTINE, edge: options.isUnidirectional ? unidirectional : undefined, onBorn: born });
        const story = new Story(tree);
        const watch = new IdWatch(tree);
        /** Liars have no children, so all that is behind them is a lie. */
        const liars = new Set<VirtualNode>();
        const waiting: { who: VirtualNode; toId: number; ends: number }[] = [];
        const heard: { srcId: number; says: number; liar: VirtualNode | undefined }[] = [];
        const listen = (node: VirtualNode): void => {
          node.listen(OPEN, undefined, ({ srcId, replyTo, data }) => {
            if (replyTo === IS_DEAD) return;
            const [says, liarId] = Buffer.from(data).toString().split(' ').map(Number);
            heard.push({ srcId, says: says ?? -1, liar: tree.alive.find(({ id }) => id === liarId) });
            if (replyTo > REPLY) node.send(srcId, replyTo, 'an answer');
          });
        };
        const begin = (choice: number, isDeep: boolean): void => {
          const able = tree.alive.filter((node) => depthOf(node) < MAX_CONTEXT_DEPTH && !liars.has(node));
          const above = isDeep ? able.reduce((deepest, node) => (depthOf(node) >= depthOf(deepest) ? node : deepest)) : pick(able, choice);
          story.tell(`a context begins below ${String(above.id)}`);
          tree.connect(above);
        };
        const act = (one: typeof events[number]['step'], number: number): void => {
          const at = 'at' in one ? pick(tree.alive, one.at) : tree.root;
          const { parent } = at;
          if (one.does === 'connect') begin(one.at, one.deep);
          else if (one.does === 'send') {
            const to = pick(tree.made, one.to);
            const wait = { who: at, toId: to.id, ends: 0 };
            const handle = REPLY + 1 + number;
            story.tell(`${String(at.id)} asks ${String(to.id)}`);
            waiting.push(wait);
            // As calls do: the first end is the only one.
            at.router.addHandler(handle, { respondent: to.id, deliver: () => { wait.ends++; at.router.removeHandler(handle); } });
            at.send(to.id, OPEN, String(at.id), handle);
          } else if (one.does === 'drop') {
            if (parent === undefined) return;
            story.tell(`${String(at.id)} loses its parent`);
            at.uplink?.lose();
          } else if (one.does !== 'wait' && parent !== undefined && at.routing === undefined) {
            liars.add(at);
            const id = 'id' in one ? anId(tree, one.id) : 0;
            story.tell(`${String(at.id)} lies: ${one.does} ${String(id)}`);
            if (one.does === 'announce') say(at, parent, ADD_ROUTE, [id, LIE]);
            else if (one.does === 'take back') sayGone(at, parent, id);
            else if (one.does === 'ask') say(at, parent, ALLOCATE_ID, one.count, { replyTo: REPLY });
            else at.inject(parent, { dstId: pick(tree.made, one.to).id, srcId: id, handle: OPEN, replyTo: 0, data: Buffer.from(`${String(id)} ${String(at.id)}`) });
          }
        };
        listen(tree.root);
        story.check(() => {
          let atMs = 0;
          for (const [number, { afterMs, step: one }] of events.entries()) {
            atMs += afterMs;
            tree.broker.after(atMs, () => {
              act(one, number);
            });
          }
          tree.broker.run();
          for (const node of tree.alive) {
            const ghosts = new Set([...liars].filter(({ alive }) => alive).flatMap((liar) => Array.from({ length: MANY_IDS }, (_, id) => id + 1).filter((id) => liar.parent?.routing?.ids.holds(liar.id, id) === true)));
            const routes = [...tree.routes(node)].filter(([id]) => !ghosts.has(id));
            expect([node.id, new Map(routes)]).toEqual([node.id, tree.liveRoutes(node)]);
          }
          for (const { who, toId, ends } of waiting) if (who.alive) expect([who.id, toId, ends]).toEqual([who.id, toId, 1]);
          for (const { srcId, says, liar } of heard) {
            expect(srcId).toBe(says);
            // A liar is heard under its own name, or that of a ghost behind it.
            if (liar && srcId !== liar.id) expect([srcId, liar.parent?.routing?.ids.holds(liar.id, srcId)]).toEqual([srcId, true]);
          }
          expect(watch.faults).toEqual([]);
          expect(tree.faults).toEqual([]);
        });
      }),
      150,
    );
  });

  it('leaves nothing behind when all contexts are gone, and has all its IDs again (REFERENCE 257)', () => {
    check(
      fc.property(trees, fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), (options, steps) => {
        const tree = new LiveTree({ ...options, ids: IDS, quarantineMs: QUARANTINE });
        const story = new Story(tree);
        for (const one of steps) {
          const at = 'at' in one ? pick(tree.alive, one.at) : tree.root;
          if (one.does === 'connect') tree.connect(aParent(tree, one.at, one.deep));
          else if (one.does === 'drop') at.uplink?.lose();
          else if (one.does === 'send') at.send(pick(tree.made, one.to).id, OPEN, 'x');
          else if (one.does === 'announce' && at.parent) say(at, at.parent, ADD_ROUTE, [anId(tree, one.id), LIE]);
          else if (one.does === 'ask' && at.parent) say(at, at.parent, ALLOCATE_ID, one.count, { replyTo: REPLY });
          else if (one.does === 'wait') tree.broker.advance(one.ms);
        }
        tree.broker.run();
        for (const child of [...tree.root.children]) child.uplink?.lose();
        tree.broker.run();
        tree.broker.advance(QUARANTINE);
        story.check(() => {
          const { router, routing } = tree.root;
          expect([tree.alive.length, router.streams.size, tree.routes(tree.root).size, routing?.routes.size, router.stats().length]).toEqual([1, 0, 0, 0, 0]);
          expect(routing?.ids.counts).toEqual({ free: IDS, resting: 0, used: 0, holders: 0 });
          expect(tree.broker.pending).toBe(0);
          expect(tree.faults).toEqual([]);
        });
      }),
      100,
    );
  });
});
