import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Mailbox } from '../src/core/mailbox/mailbox.ts';
import { anyContext } from '../src/core/mailbox/policy.ts';
import { shutdownChildren } from '../src/core/shutdown.ts';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { VirtualTree } from '../test/support/virtual-tree.ts';
import type { VirtualNode } from '../test/support/virtual-tree.ts';
import { check } from './support.ts';

const OPEN = 2000;
const CONVERSATION = 3000;
const REPLIES = 0x2000_0000;
const GRACE = 200;

const trees = fc.record({ shape: fc.array(fc.nat(), { minLength: 1, maxLength: 8 }), seed: fc.nat(), deaf: fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 3 }), graceMs: fc.constant(GRACE) });
const moment = fc.nat(40);

function pick<T>(items: readonly T[], choice: number): T {
  return items[choice % items.length] as T;
}

/** A handler that leaves when it is told the end, as calls do; gives how often it was told. */
function waitFor(here: VirtualNode, there: VirtualNode, handle: number): { ends: number } {
  const found = { ends: 0 };
  here.router.addHandler(handle, {
    respondent: there.id,
    deliver: (message) => {
      if (message.replyTo !== IS_DEAD) return;
      found.ends++;
      here.router.removeHandler(handle);
    },
  });
  return found;
}

describe('shutdown, whatever the interleaving', () => {
  it('ends every handler and every conversation of every context exactly once, and leaves nothing running', () => {
    const wait = fc.record({ waiter: fc.nat(), respondent: fc.nat(), atMs: moment });
    const event = fc.record({ atMs: moment, kind: fc.constantFrom('lose', 'error', 'die', 'shutdown', 'message'), which: fc.nat() });
    check(
      fc.property(trees, fc.array(wait, { maxLength: 15 }), fc.array(event, { maxLength: 6 }), moment, (options, waits, events, atMs) => {
        const tree = new VirtualTree(options);
        const { broker } = tree;
        const waiting: { ends: number }[] = [];
        for (const node of tree.nodes) node.listen(OPEN, { policy: anyContext });
        for (const [index, { waiter, respondent, atMs: start }] of waits.entries()) {
          broker.after(start, () => {
            const [here, there] = [pick(tree.nodes, waiter), pick(tree.nodes, respondent)];
            if (!here.alive) return;
            waiting.push(waitFor(here, there, REPLIES + index));
            here.send(there.id, OPEN, 'and?', REPLIES + index);
            if (here === there) return;
            const conversation = { ends: 0 };
            const end = (): void => {
              conversation.ends++;
            };
            const mailbox = new Mailbox<string>(here.scope, there.id, CONVERSATION + index);
            mailbox.subscribe({ error: end, complete: end });
            mailbox.next('hello');
            waiting.push(conversation);
          });
        }
        for (const { atMs: at, kind, which } of events) {
          const node = pick(tree.nodes.slice(1), which);
          broker.after(at, () => {
            if (kind === 'lose') node.uplink?.lose();
            else if (kind === 'error') node.uplink?.lose(new Error('the cable'));
            else if (kind === 'die') node.die();
            else if (kind === 'shutdown') node.shutdown();
            else if (node.alive) node.send(which % tree.nodes.length, OPEN, 'on the way');
          });
        }
        broker.after(atMs, () => { tree.node(0).shutdown(); });
        broker.run();
        tree.check(() => {
          for (const each of waiting) expect(each.ends).toBe(1);
          for (const { alive, router } of tree.nodes) expect([alive, router.streams.size, router.handleCount]).toEqual([false, 0, 0]);
          expect(tree.faults).toEqual([]);
        });
      }),
      150,
    );
  });

  it('completes when all children have gone, and after the grace period at the latest, by force', () => {
    check(
      fc.property(trees, (options) => {
        const tree = new VirtualTree(options);
        let endedAt = -1;
        shutdownChildren(tree.node(0).router, GRACE).subscribe({ complete: () => { endedAt = tree.broker.now(); } });
        tree.broker.advance(GRACE + 1);
        const children = tree.node(0).children;
        const deaf = tree.nodes.some(({ id }) => options.deaf.includes(id));
        tree.check(() => {
          expect(endedAt).toBeGreaterThanOrEqual(0);
          expect(endedAt).toBeLessThanOrEqual(GRACE);
          if (!deaf) expect(endedAt).toBeLessThan(GRACE);
          if (children.some(({ id }) => options.deaf.includes(id))) expect(endedAt).toBe(GRACE);
          expect(tree.node(0).router.streams.size).toBe(0);
        });
        tree.broker.run();
        tree.check(() => {
          for (const node of tree.nodes.slice(1)) expect(node.alive).toBe(false);
        });
      }),
    );
  });

  it('leaves no handler behind that is added by one that is told the end, as a retry does', () => {
    check(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat()), { minLength: 1, maxLength: 10 }), (handlers) => {
        const tree = new VirtualTree({ shape: [0] });
        const { router } = tree.node(0);
        const ends = handlers.map(() => 0);
        let refused = 0;
        handlers.forEach(([retries, removes], index) => {
          router.addHandler(REPLIES + index, {
            respondent: 1,
            deliver: () => {
              ends[index] = (ends[index] ?? 0) + 1;
              router.removeHandler(REPLIES + index);
              // One that is removed needs no end any more.
              if (removes % 3 === 0) router.removeHandler(REPLIES + (removes % handlers.length));
              if (!retries) return;
              try {
                router.addHandler(REPLIES + 1000 + index, { deliver: () => undefined });
              } catch (error) {
                refused++;
                expect(error).toMatchObject({ code: 'ERR_TENDRIL_SHUTDOWN' });
              }
            },
          });
        });
        router.close();
        const told = ends.filter((count) => count === 1).length;
        expect(ends.every((count) => count <= 1)).toBe(true);
        expect(told).toBeGreaterThan(0);
        expect(refused).toBe(handlers.filter(([retries], index) => retries && ends[index] === 1).length);
        expect(router.handleCount).toBe(0);
        expect(tree.faults).toEqual([]);
      }),
    );
  });
});
