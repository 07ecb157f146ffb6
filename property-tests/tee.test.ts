import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Tee } from '../src/remote/files/tee.ts';
import { fanOut } from '../src/parent/files/fan-out.ts';
import type { FanNode } from '../src/parent/files/fan-out.ts';
import { TreePlan } from '../src/parent/files/tree-plan.ts';

/** What the slowest branch may have waiting. */
const AHEAD = 32;

describe('a tee', () => {
  it('gives every value to each branch that stays, once and in order, and reads no further ahead than the slowest', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 120 }),
        fc.array(fc.record({ leavesAfter: fc.option(fc.nat({ max: 100 }), { nil: Infinity }) }), { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        fc.scheduler(),
        async (count, plans, fails, scheduler) => {
          let asked = 0;
          let left = false;
          const source: AsyncIterator<number, undefined> & AsyncIterable<number> = {
            next: async () => {
              await scheduler.schedule(Promise.resolve());
              if (asked < count) return { done: false, value: asked++ };
              if (fails) throw new Error('the end');
              return { done: true, value: undefined };
            },
            return: () => {
              left = true;
              return Promise.resolve({ done: true, value: undefined });
            },
            [Symbol.asyncIterator]: () => source,
          };
          const tee = new Tee<number>(source);
          const taken = plans.map(() => 0);
          const gone = plans.map(() => false);
          const branches = plans.map(() => tee.branch());
          const ends = await Promise.all([
            scheduler.waitFor(
              Promise.all(
                plans.map(async ({ leavesAfter }, index) => {
                  const branch = branches[index]!;
                  try {
                    for (let number = 0; ; number++) {
                      if (number >= leavesAfter) {
                        gone[index] = true;
                        await branch.return?.();
                        return 'left';
                      }
                      await scheduler.schedule(Promise.resolve());
                      const step = await branch.next();
                      if (step.done === true) return 'complete';
                      expect(step.value).toBe(number);
                      taken[index] = number + 1;
                      const slowest = Math.min(...taken.filter((_taken, other) => gone[other] !== true));
                      expect(asked - slowest).toBeLessThanOrEqual(AHEAD + 1);
                    }
                  } catch (error) {
                    return (error as Error).message;
                  }
                }),
              ),
            ),
          ]);
          const whole = fails ? 'the end' : 'complete';
          ends[0].forEach((end, index) => {
            const { leavesAfter } = plans[index]!;
            // One that would leave at the very end may hear of the end first.
            if (leavesAfter > count) expect([end, taken[index]]).toEqual([whole, count]);
            else expect(end === 'left' || end === whole).toBe(true);
          });
          if (plans.every(({ leavesAfter }) => leavesAfter < count - AHEAD)) expect(left).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the ways to many contexts', () => {
  it('lead to each of them once, and part only where they must', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 30 }), fc.array(fc.nat({ max: 29 }), { minLength: 1, maxLength: 15 }), (parents, wanted) => {
        // Context n is reached by way of an earlier one, or of none.
        const via = (context: number): number | undefined => (context === 0 || parents[context]! % (context + 1) === context ? undefined : parents[context]! % (context + 1));
        const targets = new Set(wanted.filter((context) => context < parents.length));
        const roots = fanOut(targets, via);
        const reached: number[] = [];
        const visit = (node: FanNode<number>, above: number | undefined): void => {
          if (node.wanted) reached.push(node.context);
          else expect(node.children.length).toBeGreaterThan(1);
          let at = via(node.context);
          while (at !== undefined && at !== above) at = via(at);
          expect(at).toBe(above);
          for (const child of node.children) visit(child, node.context);
        };
        for (const root of roots) visit(root, undefined);
        expect(reached.sort((one, other) => one - other)).toEqual([...targets].sort((one, other) => one - other));
      }),
    );
  });
});

describe('the list of a directory', () => {
  const info = { size: 1, mode: 0o644, uid: 0, gid: 0, mtimeMs: 0, atimeMs: 0 };
  const step = fc.constantFrom('a', 'b', 'c', '..', '.', '', 'd\0', '/');
  const entry = fc.oneof(
    fc.record({ type: fc.constantFrom('file', 'directory', 'other', 'device'), path: fc.array(step, { maxLength: 3 }).map((steps) => steps.join('/')), info: fc.oneof(fc.constant(info), fc.anything()) }),
    fc.record({ type: fc.constant('symlink'), path: fc.array(step, { maxLength: 3 }).map((steps) => steps.join('/')), target: fc.oneof(fc.constant('/etc'), fc.anything()) }),
    fc.anything(),
  );

  it('leads nowhere but down, through directories of its own, whatever a context says', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 30 }), (entries) => {
        const plan = new TreePlan('there', {});
        plan.add([{ type: 'directory', path: '', info }]);
        for (const one of entries) {
          try {
            plan.add([one]);
          } catch (error) {
            expect(error).toMatchObject({ name: 'FileError' });
          }
        }
        const directories = new Set(['', ...plan.directories]);
        const paths = [...plan.directories, ...plan.links.map(([path]) => path), ...plan.small.map(({ path }) => path), ...plan.large.map(({ path }) => path)];
        expect(new Set(paths).size).toBe(paths.length);
        for (const path of paths) {
          expect(path.split('/').every((name) => /^[abcd]+$/.test(name))).toBe(true);
          expect(directories.has(path.split('/').slice(0, -1).join('/'))).toBe(true);
        }
        for (const [path] of plan.links) expect(paths.some((other) => other.startsWith(`${path}/`))).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });
});
