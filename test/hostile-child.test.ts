import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import type { Observable } from 'rxjs';
import type { Sender } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { DONE, PRELUDE, attacked, withProgram } from './support/hostile.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const BAD_REPLIES: readonly (readonly [what: string, bytes: string])[] = [
  ['nothing', ''],
  ['a lone break', 'ff'],
  ['no array', '6474657874'],
  ['an empty array', '80'],
  ['an unknown kind', '8209f6'],
  ['a kind that is no number', '8261306130'],
  ['an error that is a text', '820364626f6f6d'],
  ['an error of too few parts', '8203d9d99782616161 62'],
  ['more items than there are numbers', '82009bffffffffffffffff'],
  ['more items than are allowed', '82009a7fffffff'],
  ['more pairs than are allowed', '8200ba7fffffff'],
  ['a byte string that is not there', '82005a7fffffff'],
  ['an attachment that is not there', '8200d9d9941a7fffffff'],
  ['an attachment of an impossible length', '8200d9d9941bffffffffffffffff'],
  ['bytes that are left over', '82000000'],
  ['deep nesting', `8200${'81'.repeat(100_000)}00`],
  ['deep nesting of tags', `8200${'d9d995'.repeat(100_000)}40`],
  ['an indefinite length', '82009f00ff'],
  ['a regular expression', '8200d81b8261616167'],
  ['a shared reference', '8200d81c8101'],
  ['a record definition', '8200d9dffe8419e0008161610101'],
  ['a key that is __proto__', '8200a1695f5f70726f746f5f5fa0'],
  ['a bigint that takes quadratic time', `8200c25a00020000${'ff'.repeat(0x20000)}`],
  ['a context that cannot be', '8200d9d999821a000111706161'],
  ['a sender that cannot be', '8200d9d99a820100'],
];

describe('a hostile child', () => {
  watchForLeaks();

  it(
    'gets one typed error for each reply that is garbage, and no more',
    attacked(
      `const payloads = ${JSON.stringify(BAD_REPLIES.map(([, bytes]) => bytes))};
      calls = ({ replyTo }) => send(0, replyTo, hex(payloads.shift()));`,
      async ({ hostile }) => {
        for (const [what, bytes] of BAD_REPLIES) {
          const error = await failure(hostile.call(tasks.add, 1, 2));
          expect([what, error.code]).toEqual([what, 'ERR_TENDRIL_DECODE']);
          expect(error.message).not.toContain(bytes.slice(0, 20) || 'undefined');
        }
        expect(({} as Record<string, unknown>)['a']).toBeUndefined();
      },
    ),
  );

  it(
    'that answers twice, or after the end, is heard once',
    attacked(
      `calls = ({ replyTo }) => {
        for (const reply of [[1, 'first'], [2, null], [1, 'late'], [0, 'again'], [3, 'x'], [2, null]]) send(0, replyTo, cbor(reply));
        send(0, replyTo, Buffer.from('error: dead'), 999);
        log(${JSON.stringify(DONE)});
      };`,
      async ({ hostile, done, records, master }) => {
        const heard: unknown[] = [];
        const before = master.router.handleCount;
        hostile.call(tasks.add, 1, 2).subscribe({ next: (value) => heard.push(value), error: (error) => heard.push(error), complete: () => heard.push('complete') });
        await done();
        expect(heard).toEqual(['first', 'complete']);
        expect(master.router.handleCount).toBe(before);
        expect(records.filter(({ level }) => level === 'error')).toEqual([]);
      },
    ),
  );

  it(
    'cannot answer or end the call of another, even when it knows the handle',
    attacked(
      `others = ({ handle, payload }) => {
        if (handle !== 5000) return;
        const reply = payload.readUInt32BE(1);
        send(0, reply, cbor([0, 'mine']));
        raw(frame(0, 1, reply, 0, cbor([0, 'forged'])));
        raw(frame(0, 0, reply, 0, cbor([0, 'forged'])));
        raw(frame(0, 1, reply, 999, Buffer.from('error: forged')));
        raw(frame(0, 0, reply, 999, Buffer.from('error: forged')));
        send(0, reply, Buffer.from('no-route: killed by another child'), 999);
        log(${JSON.stringify(DONE)});
      };`,
      async ({ honest, hostile, done }) => {
        let replyTo = 0;
        const watch = (message: unknown): void => {
          const { dstId, handle, replyTo: to } = message as { dstId: number; handle: number; replyTo: number };
          if (dstId === honest.id && handle === 101) replyTo = to;
        };
        subscribe('tendril:io', watch);
        const heard: unknown[] = [];
        const call = honest.call(tasks.hang).subscribe({ next: (value) => heard.push(value), error: (error: Error) => heard.push(error.message) });
        unsubscribe('tendril:io', watch);
        const talk = hostile.handle<number>(5000);
        talk.next(replyTo);
        await done();
        expect(replyTo).toBeGreaterThan(0x0fff_ffff);
        expect(heard).toEqual([]);
        call.unsubscribe();
        talk.close();
      },
    ),
  );

  it(
    'commands neither its parent nor its sibling (REFERENCE 249)',
    attacked(
      `const witness = DIRECTORY + '/executed';
      attack = () => {
        const run = [null, 'node:fs', null, 'writeFileSync', [witness, 'x']];
        for (const dst of [0, 1]) for (const src of [me, 0, 1, 7, 65535]) for (const replyTo of [0, 999, 106, 101, 0x20000000]) {
          for (const payload of [Buffer.alloc(0), cbor(run), hex('0001'), hex('0000'), hex('0002'), cbor([0x20000000, 0]), cbor([0x20000000, 1, 1e9, 1e9]), cbor(Buffer.from('x'))]) {
            for (let handle = 100; handle <= 116; handle++) if (handle !== 102) raw(frame(dst, src, handle, replyTo, payload));
          }
        }
        log(${JSON.stringify(DONE)});
      };`,
      async ({ honest, hostile, master, done }, directory) => {
        await done();
        // Behind all that was passed on to it.
        expect(await first(honest.call(tasks.identity, 'well'))).toBe('well');
        expect(existsSync(join(directory, 'executed'))).toBe(false);
        expect(master.contexts).toEqual([honest, hostile]);
      },
    ),
  );

  it.each([['SHUTDOWN', 106], ['CALL_FUNCTION', 101], ['LOAD_MODULE', 107], ['DEL_ROUTE', 104], ['CALL_CONTROL', 114], ['the mark of a dead message', 999]])(
    'cannot make its parent speak for it by a Sender for %s of its sibling',
    (_what, handle) =>
      attacked(
        `calls = ({ replyTo }) => send(0, replyTo, cbor([0, { to: new Tag([1, ${String(handle)}], 55706), payload: [null, 'node:fs', null, 'writeFileSync', [DIRECTORY + '/executed', 'x']] }]));`,
        async ({ honest, hostile }, directory) => {
          // An honest function would give its caller somewhere to report to, and something to report.
          const answer = await first(hostile.call(tasks.identity<{ to?: Sender; payload?: unknown }>, {})).catch((): { to?: Sender; payload?: unknown } => ({}));
          answer.to?.next(answer.payload);
          answer.to?.complete();
          expect(await first(honest.call(tasks.identity, 'well'))).toBe('well');
          expect(existsSync(join(directory, 'executed'))).toBe(false);
        },
      )(),
  );

  it(
    'that floods the log is heard within limits',
    attacked(
      `attack = () => {
        const bad = frame(0, me, 102, 0, hex('ff')), forged = frame(0, 7, 102, 0, cbor(['', 'info', 'forged']));
        raw(Buffer.concat(Array.from({ length: 20000 }, () => bad)));
        raw(Buffer.concat(Array.from({ length: 20000 }, () => forged)));
        for (const record of [['', 'loud', 'x'], ['', 'constructor', 'x'], [1, 'info', 'x'], ['', 'info', {}], ['x'.repeat(257), 'info', 'x'], [], null]) send(0, 102, cbor(record));
        log('y'.repeat(1000000));
        log(${JSON.stringify(DONE)});
      };`,
      async ({ records, done }) => {
        await done();
        expect(records.filter(({ message }) => message.includes('bad src_id')).length).toBeLessThanOrEqual(20);
        expect(Math.max(...records.map(({ message }) => message.length))).toBeLessThanOrEqual(132_000);
        expect(records.filter(({ message }) => message.includes('not valid')).length).toBeLessThanOrEqual(100);
        expect(records.filter(({ message }) => message === 'forged')).toEqual([]);
      },
    ),
  );

  it(
    'that floods a mailbox with garbage does not fill the log',
    attacked(
      `others = ({ handle }) => {
        if (handle !== 5000) return;
        const bad = frame(0, me, 5000, 0, hex('ff'));
        raw(Buffer.concat(Array.from({ length: 5000 }, () => bad)));
        log(${JSON.stringify(DONE)});
      };`,
      async ({ hostile, records, done }) => {
        const talk = hostile.handle<number>(5000);
        talk.next(1);
        await done();
        talk.close();
        expect(records.length).toBeLessThanOrEqual(100);
      },
    ),
  );

  it(
    'that asks for answers and reads none does not fill the memory of its parent',
    attacked(
      `attack = () => {
        reader.pause();
        const question = frame(0, me, 5001, 0x20000000);
        const many = Buffer.concat(Array.from({ length: 10000 }, () => question));
        for (let round = 0; round < 40; round++) raw(many);
      };`,
      async ({ hostile, honest }) => {
        // 20 MB of answers are asked for; when 8 lie unread, nothing more is read from it.
        while (hostile.pendingBytes < 8 * 1024 * 1024) await first(honest.call(tasks.add, 1, 2));
        for (let turn = 0; turn < 50; turn++) expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
        expect(hostile.pendingBytes).toBeLessThan(12 * 1024 * 1024);
      },
    ),
  );

  it(
    'that grants credit for calls, or ends handles that it does not have, changes nothing',
    attacked(
      `attack = () => {
        for (let handle = 1; handle < 2000; handle++) { send(0, handle, Buffer.from('closed'), 999); send(1, handle, Buffer.from('closed'), 999); }
        for (const call of [0, 1, -1, 1e300, 0x20000000, null, 'x']) for (const dst of [0, 1]) send(dst, 114, cbor([call, 1, 1e9, 1e9]));
        log(${JSON.stringify(DONE)});
      };`,
      async ({ honest, master, done }) => {
        const own = master.self.handle<number>(1500);
        const heard: unknown[] = [];
        const subscription = own.subscribe({ next: (value) => heard.push(value), complete: () => heard.push('complete'), error: (error) => heard.push(error) });
        await done();
        expect(heard).toEqual([]);
        subscription.unsubscribe();
        expect(await first(honest.call(tasks.counting, 1))).toBe(0);
      },
    ),
  );

  it.each([
    ['its reading half', `reader.destroy(); try { fs.closeSync(3); } catch {}`],
    ['its writing half', `fs.closeSync(4);`],
  ])(
    'that closes %s and lives on is lost, and its calls settle',
    (_what, close) =>
      attacked(`calls = () => { ${close} setInterval(() => {}, 1000); };`, async ({ hostile }) => {
        const calls = [1, 2, 3].map((n) => failure(hostile.call(tasks.add, n, n)));
        // A half that nobody reads only shows when it is written to.
        const retry = setInterval(() => { hostile.handle<number>(5000).next(1); }, 50);
        try {
          expect((await Promise.all(calls)).map((error) => error.code)).toEqual(Array(3).fill('ERR_TENDRIL_CHANNEL'));
          expect(await first(hostile.closed)).toMatchObject({ reason: 'lost' });
        } finally {
          clearInterval(retry);
          hostile.handle(5000).close();
        }
      })(),
    30_000,
  );

  it(
    'that begins a frame and stops is ended within the grace',
    attacked(
      `calls = () => { log(${JSON.stringify(DONE)}); raw(frame(0, me, 5000, 0, Buffer.alloc(0), 100000000)); process.on('SIGTERM', () => {}); process.exit = () => {}; setInterval(() => {}, 1000); };`,
      async ({ hostile, done }) => {
        const call = failure(hostile.call(tasks.add, 1, 2));
        await done();
        const began = performance.now();
        await hostile.shutdown();
        // The grace and the second before SIGKILL, for the connection and then for the process; not the child's own end.
        expect(performance.now() - began).toBeLessThan(10_000);
        expect((await call).code).toBe('ERR_TENDRIL_CHANNEL');
        expect(await first(hostile.closed)).toMatchObject({ exit: { signal: 'SIGKILL' } });
      },
    ),
  );

  it(
    'that writes without a line end has its output cut, and is ended',
    attacked(
      `attack = () => { fs.writeSync(2, 'z'.repeat(60000)); for (let round = 0; round < 100; round++) for (let at = 0; at < 60000;) at += fs.writeSync(2, 'z'.repeat(60000 - at)); };`,
      async ({ hostile, records, logged }) => {
        await logged(({ message, stream }) => stream === 'stderr' && message.length > 60_000);
        await hostile.shutdown();
        const lines = records.filter(({ stream }) => stream === 'stderr');
        expect(Math.max(...lines.map(({ message }) => message.length))).toBeLessThanOrEqual(65_536);
      },
    ),
  );

  it('cannot write control characters to the terminal: not by texts, names of loggers, output, its version or errors', () =>
    withProgram(
      `${PRELUDE}
      const evil = '\\x1b[31m\\x1b]0;owned\\x07\\x9b2J\\u202e';
      attack = () => { log(evil); log('x', 'n' + evil); send(0, 102, cbor(['', 'info' + evil, evil])); fs.writeSync(2, evil + '\\n'); log('two\\n2026-01-01T00:00:00.000Z error [tendril] a forged line'); };
      calls = ({ replyTo }) => send(0, replyTo, cbor([3, new Tag(['N' + evil, evil, evil, evil, null], 55703)]));`,
      async ([node = '', script = ''], directory) => {
        const old = join(directory, 'old.cjs');
        writeFileSync(old, `require('fs').writeSync(4, 'EC0 v12.0\\x1b[31m\\x07;'); require('fs').readSync(3, Buffer.alloc(1));`);
        const program = `
          import { Master } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
          import os from 'node:os';
          const master = new Master({ graceMs: 300 });
          const hostile = master.local({ name: 'hostile', nodePath: ${JSON.stringify([node, script])} });
          hostile.handle(7000).subscribe({ error() {} });
          hostile.call(os.loadavg).subscribe({ error: async () => {
            const old = master.local({ nodePath: ${JSON.stringify([node, old])} });
            old.connected.subscribe({ error: async (error) => { console.error(error.message); await master.shutdown(); } });
          } });`;
        const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'ignore', 'pipe'] });
        const [output] = await Promise.all([text(child.stderr), once(child, 'exit')]);
        expect(output).toContain('hostile');
        expect(output).toMatch(/at least 20\.19|connection ended/);
        expect(output.split('\n').filter((line) => /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/.test(line))).toEqual([]);
        expect(output.split('\n').filter((line) => line.includes('a forged line') && line.startsWith('2026-01-01'))).toEqual([]);
      },
    ));
});

/** What user code may do to the process that it runs in: a module of its own, since it is what is sent. */
const TAMPER = `
import fs from 'node:fs';

export const WAYS = {
  'destroys stdout': () => process.stdout.destroy(),
  'closes fd 3': () => { fs.closeSync(3); },
  'closes fd 4': () => { fs.closeSync(4); },
  'closes fds 3 and 4': () => { fs.closeSync(3); fs.closeSync(4); },
  'closes fds 1 and 2': () => { fs.closeSync(1); fs.closeSync(2); console.log('x'); },
  'removes exit listeners and exits': () => { process.removeAllListeners('exit'); setImmediate(() => process.exit(0)); },
  'removes all listeners': () => { process.removeAllListeners(); },
  'gives Object.prototype a property': () => { Object.prototype['tail'] = 'x'; Object.prototype['buffer'] = 'x'; },
  'gives Object.prototype a setter': () => { Object.defineProperty(Object.prototype, 'data', { set() { throw new Error('gotcha'); }, get: () => 'gotcha' }); },
  'breaks Array.prototype': () => { for (const name of ['push', 'map', 'shift', 'slice', 'splice']) Array.prototype[name] = () => { throw new Error('gotcha'); }; },
  'breaks Map and Set': () => { Map.prototype.get = () => undefined; Set.prototype.add = () => { throw new Error('gotcha'); }; },
  'breaks Buffer': () => { Buffer.from = () => { throw new Error('gotcha'); }; },
  'freezes the prototypes': () => { for (const type of [Object, Array, Map, Set, Function, Error]) Object.freeze(type.prototype); },
  'changes directory': () => { process.chdir('/'); },
  'empties the environment': () => { for (const name of Object.keys(process.env)) Reflect.deleteProperty(process.env, name); },
  'replaces the environment': () => { process.env = undefined; },
  'replaces process.exit and kill': () => { process.exit = (() => undefined); process.kill = () => true; },
  'swallows everything': () => { process.on('uncaughtException', () => undefined); process.on('SIGTERM', () => undefined); setImmediate(() => { throw new Error('x'); }); },
  'replaces the timers': () => { globalThis.setTimeout = (() => undefined); globalThis.setImmediate = (() => undefined); globalThis.queueMicrotask = () => undefined; },
};

export function tamper(way) {
  WAYS[way]?.();
  return 'done';
}
`;

async function withTamper(test: (tamper: (way: string) => string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-tamper-'));
  try {
    const path = join(directory, 'tamper.mjs');
    writeFileSync(path, TAMPER);
    await test(((await import(path)) as { tamper: (way: string) => string }).tamper);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const WAYS = [...TAMPER.matchAll(/^ {2}'([^']+)': /gm)].map(([, way = '']) => way);

describe('user code that tampers with its own process', () => {
  watchForLeaks();

  it.each(WAYS)('%s: the master and the sibling are well, calls settle, nothing is left', (way) =>
    withTamper((tamper) => withTree({ graceMs: 300 }, async ({ master }) => {
      const honest = master.local({ name: 'honest' });
      const odd = master.local({ name: 'odd' });
      await Promise.all([first(honest.call(tasks.add, 0, 0)), first(odd.call(tasks.add, 0, 0))]);
      // What the context makes of it is its own affair; in the end all settles.
      const made: Observable<unknown>[] = [odd.call(tamper, way), odd.call(tasks.add, 1, 2)];
      const outcomes = made.map((call) => new Promise((resolve) => call.subscribe({ next: resolve, error: resolve })));
      expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
      await odd.shutdown();
      await Promise.all(outcomes);
      expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
    })),
  );
});
