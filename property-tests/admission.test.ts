import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { Admission } from '../src/parent/connection/admission.ts';
import { check } from './support.ts';

/** Someone comes, leaving at once where it says so; or one of those who have come leaves. */
const step = fc.oneof(fc.record({ comes: fc.boolean() }), fc.record({ leaves: fc.nat(30) }));

describe('an admission', () => {
  it('lets in no more than it may, as many as it may, in their order, whoever leaves when', () => {
    check(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), (max, steps) => {
        const admission = new Admission(max);
        const inside = new Set<number>();
        const waiting: number[] = [];
        const entered: number[] = [];
        const leave: (() => void)[] = [];
        const expectFull = (): void => {
          expect(inside.size).toBe(Math.min(max, inside.size + waiting.length));
          expect(admission.counts).toEqual({ inside: inside.size, waiting: waiting.length });
        };
        for (const one of steps) {
          if ('comes' in one) {
            const number = leave.length;
            waiting.push(number);
            leave.push(admission.enter(() => {
              expect(waiting.shift()).toBe(number);
              inside.add(number);
              entered.push(number);
              expect(inside.size).toBeLessThanOrEqual(max);
            }));
            if (one.comes) continue;
            inside.delete(number);
            if (waiting.includes(number)) waiting.splice(waiting.indexOf(number), 1);
            leave[number]?.();
          } else if (leave.length > 0) {
            const number = one.leaves % leave.length;
            inside.delete(number);
            if (waiting.includes(number)) waiting.splice(waiting.indexOf(number), 1);
            leave[number]?.();
          }
          expectFull();
        }
        expect(entered).toEqual([...entered].sort((a, b) => a - b));
      }),
      300,
    );
  });
});
