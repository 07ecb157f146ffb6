import { describe, expect, it } from '@jest/globals';
import { EMPTY, catchError, defaultIfEmpty } from 'rxjs';
import type { ConnectedContext, Context } from 'tendril';
import { callCounter } from './fixtures/services.ts';
import { Counter, Slow } from './fixtures/services.ts';
import { DONE, PRELUDE, withProgram } from './support/hostile.ts';
import { first, watchForLeaks, withTree } from './support/tree.ts';
import type { Tree } from './support/tree.ts';

interface Attacked extends Tree {
  readonly hostile: ConnectedContext;
  readonly victim: ConnectedContext;
}

/**
 * The program gets the ID of another child, which serves a counter, as VICTIM; `service(dst, method, args, replyTo)` calls
 * the service `counter`; `answers` are those to its reply handles. It says DONE by `over()`.
 */
function attacked(source: string, test: (tree: Attacked) => Promise<void>): () => Promise<void> {
  const prelude = `${PRELUDE}
    const VICTIM = 1, over = () => log(${JSON.stringify(DONE)}), answers = new Map();
    const request = (className, method, args, module = 'service:', chain = null, ...rest) => cbor([chain, module, className, method, args, ...rest]);
    const service = (dst, method, args, replyTo, className = 'counter') => send(dst, 110, request(className, method, args), replyTo);
    others = ({ handle, replyTo, payload }) => {
      const answer = replyTo === 999 ? String(payload) : codec.decode(payload);
      answers.set(handle, [...(answers.get(handle) ?? []), answer]);
      answered?.();
    };
    const said = (handle) => (answers.get(handle) ?? []).map((answer) => typeof answer === 'string' ? answer.split(':')[0] : answer[0] === 3 ? answer[1].value[3] : answer);
    let answered;`;
  return () =>
    withProgram(`${prelude}\n${source}`, (nodePath) =>
      withTree({ graceMs: 300 }, async (tree) => {
        const { master, logged } = tree;
        const victim = master.local({ name: 'victim' });
        expect(victim.id).toBe(1);
        expect(await first(victim.service(Counter).increment(7))).toBe(7);
        const hostile = master.local({ name: 'hostile', nodePath });
        await first(hostile.connected);
        hostile.call(process.cwd).pipe(catchError(() => EMPTY), defaultIfEmpty('')).subscribe();
        await logged(({ message }) => message === DONE);
        await test({ ...tree, hostile, victim });
        expect(await first(victim.service(Counter).get())).toBe(7);
        expect(await first(victim.service(Counter).increment(0))).toBe(7);
      }));
}

/** What the program has logged, in order. */
function said({ records }: Tree): unknown {
  return records.filter(({ logger }) => logger.endsWith('.said')).map(({ message }) => JSON.parse(message) as unknown);
}

const SAY = `const say = (value) => log(JSON.stringify(value), 'said');`;

describe('a hostile child and the services of others', () => {
  watchForLeaks();

  it(
    'with requests that are garbage gets errors, and changes nothing',
    attacked(
      `${SAY} calls = () => {
        const bad = [Buffer.alloc(0), hex('ff'), cbor('text'), cbor([]), cbor([null, 1, 'counter', 'get', []]), cbor([null, 'service:', 'counter', 'get']), cbor([1, 'service:', 'counter', 'get', []]), hex('82009a7fffffff'), cbor([null, 'service:', 'counter', 'get', [], [], []]), ...['5', 2n ** 60n, [5], -1].map((d) => cbor([null, 'service:', 'counter', 'get', [], { d }]))];
        bad.forEach((payload, index) => send(VICTIM, 110, payload, 0x10000000 + index));
        service(VICTIM, 'get', [], 0x10000100);
        answered = () => { if (answers.size === bad.length + 1) { say([...answers.keys()].sort().map(said)); over(); } };
      };`,
      async (tree) => {
        const [answers] = said(tree) as [unknown[][]];
        expect(answers.slice(0, 13).flat()).toEqual(Array.from({ length: 13 }, () => 'ERR_TENDRIL_DECODE'));
        expect(answers[13]).toEqual(['ERR_TENDRIL_SERVICE_NOT_ACTIVE']);
        await Promise.resolve();
      },
    ),
  );

  it(
    'reaches no names that a prototype has, no module, and no function',
    attacked(
      `${SAY} calls = () => {
        const module = 'service:' + MODULE;
        const tries = [['counter', '__proto__'], ['__proto__', 'get'], ['constructor', 'constructor'], ['counter', 'constructor'], ['counter', 'hasOwnProperty']];
        tries.forEach(([className, method], index) => send(VICTIM, 110, request(className, method, []), 0x10000000 + index));
        ['__proto__', 'constructor', 'toString', 'hidden', 'count'].forEach((method, index) => send(VICTIM, 110, request('Counter', method, [], module), 0x10000010 + index));
        send(VICTIM, 110, request(null, 'execSync', ['id'], 'node:child_process'), 0x10000020);
        send(VICTIM, 110, request('Slow', 'state', [], module), 0x10000021);
        send(VICTIM, 101, request(null, 'execSync', ['id'], 'node:child_process'), 0x10000022);
        send(VICTIM, 101, request('Counter', 'increment', [1], module), 0x10000023);
        answered = () => { if (answers.size === 14) { say([...answers.keys()].sort().map(said).flat()); over(); } };
      };`.replace('MODULE', JSON.stringify(new URL('./fixtures/services.ts', import.meta.url).href)),
      async (tree) => {
        const inactive = 'ERR_TENDRIL_SERVICE_NOT_ACTIVE';
        const none = 'ERR_TENDRIL_NO_METHOD';
        expect(said(tree)).toEqual([[inactive, inactive, inactive, inactive, inactive, none, none, none, none, none, inactive, inactive, 'refused-by-policy', 'refused-by-policy']]);
        await Promise.resolve();
      },
    ),
  );

  it(
    'cannot call in the name of another, nor meddle with the calls of another',
    attacked(
      `${SAY} calls = () => {
        const module = 'service:' + MODULE;
        // As the master, as the victim itself.
        for (const src of [0, VICTIM]) raw(frame(VICTIM, src, 110, 0x10000000, request('Counter', 'increment', [100], module)));
        // Cancels of every call that the master might have there; credit that nobody has asked for.
        for (let call = 0; call < 2000; call++) { send(VICTIM, 114, cbor([call, 0])); raw(frame(VICTIM, 0, 114, 0, cbor([call, 0]))); }
        for (const control of [null, 1, [], ['x', 0], [1, 'x'], [0x10000001, 1, -1, NaN], [0x10000001, 1, 1e300, 1e300]]) send(VICTIM, 114, cbor(control));
        send(VICTIM, 110, request('Counter', 'who', [], module), 0x10000001);
        answered = () => { say(said(0x10000001)); over(); };
      };`.replace('MODULE', JSON.stringify(new URL('./fixtures/services.ts', import.meta.url).href)),
      async (tree) => {
        expect(said(tree)).toEqual([[[0, tree.hostile.id]]]);
        expect(tree.master.router.stats().find(({ id }) => id === tree.hostile.id)?.dropped['bad-source']).toBe(2002);
        await Promise.resolve();
      },
    ),
  );

  it(
    'has each reply handle for one call at a time, and none without',
    attacked(
      `${SAY} calls = () => {
        const module = 'service:' + MODULE;
        for (let index = 0; index < 3; index++) send(VICTIM, 110, request('Counter', 'ticks', [1000000], module), 0x10000000);
        send(VICTIM, 110, request('Counter', 'ticks', [1000000], module), 0);
        answered = () => {
          if (said(0x10000000).filter((one) => one === 'refused-by-policy').length < 2) return;
          answered = undefined;
          send(VICTIM, 114, cbor([0x10000000, 0]));
          say('refused');
          over();
        };
      };`.replace('MODULE', JSON.stringify(new URL('./fixtures/services.ts', import.meta.url).href)),
      async (tree) => {
        expect(said(tree)).toEqual(['refused']);
        await Promise.resolve();
      },
    ),
  );

  it(
    'that floods is refused what is too much, while others are served',
    attacked(
      `${SAY} calls = () => {
        const module = 'service:' + MODULE;
        const many = [];
        // Streams that never end, unknown services, methods that are not for it.
        for (let index = 0; index < 3000; index++) {
          many.push(frame(VICTIM, me, 110, 0x10000000 + index, request('Counter', 'ticks', [1000000], module)));
          many.push(frame(VICTIM, me, 110, 0x20000000 + index, request('Nobody' + index, 'get', [], module)));
          many.push(frame(VICTIM, me, 110, 0x30000000 + index, request('Counter', 'increment', [], module)));
        }
        raw(Buffer.concat(many));
        let count = 0;
        answered = () => {
          if (++count % 100 > 0) return;
          const busy = [...answers.keys()].filter((handle) => handle < 0x20000000 && said(handle).includes('ERR_TENDRIL_SERVICE_BUSY')).length;
          const unknown = [...answers.keys()].filter((handle) => handle >= 0x20000000 && handle < 0x30000000).length;
          const refused = [...answers.keys()].filter((handle) => handle >= 0x30000000).length;
          if (busy < 3000 - 1024 || unknown < 3000 || refused < 3000) return;
          answered = undefined;
          say([busy, unknown, refused]);
          over();
        };
      };`.replace('MODULE', JSON.stringify(new URL('./fixtures/services.ts', import.meta.url).href)),
      async (tree) => {
        expect(said(tree)).toEqual([[3000 - 1024, 3000, 3000]]);
        const other = tree.master.local({ name: 'other' });
        expect(await first(other.call(callCounter, tree.victim as Context, 'get'))).toEqual({ value: 7 });
      },
    ),
  );

  it(
    // How many of the twenty fit into its share depends on how they take turns: four or five.
    'that does not acknowledge what it is sent makes nobody keep much of it',
    attacked(
      `${SAY} calls = () => {
        const module = 'service:' + MODULE;
        for (let index = 0; index < 20; index++) send(VICTIM, 110, request('Counter', 'fire', [20000], module), 0x10000000 + index);
        answered = () => {
          const all = [...answers.values()];
          const values = all.map((one) => one.filter(([kind]) => kind === 1).length);
          const errors = all.flatMap((one) => one.filter(([kind]) => kind === 3)).map(([, error]) => error.value[3]);
          // Each has ended, or waits with a full window: nothing more comes.
          if (all.length < 20 || all.some((one, index) => one.at(-1)[0] !== 3 && values[index] < 256)) return;
          answered = undefined;
          say([Math.max(...values) <= 256, errors.length >= 12, [...new Set(errors)]]);
          over();
        };
      };`.replace('MODULE', JSON.stringify(new URL('./fixtures/services.ts', import.meta.url).href)),
      async (tree) => {
        expect(said(tree)).toEqual([[true, true, ['ERR_TENDRIL_OVERFLOW']]]);
        await Promise.resolve();
      },
    ),
  );

  it('that is told to call up cannot start what the master does not serve', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local({ name: 'kid' });
      const slow = new Slow();
      master.serve(slow);
      const before = master.router.handleCount;
      expect(await first(kid.call(callCounter, master.self, 'get'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_NOT_ACTIVE' });
      expect(master.router.handleCount).toBe(before);
    }));
});
