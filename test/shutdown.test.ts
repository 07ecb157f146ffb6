import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { CallError, ConnectError, Master, ShutdownError } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, startedProcesses, watchForLeaks, withChild, withTree } from './support/tree.ts';

describe('shutdown', () => {
  watchForLeaks();

  it(
    'of a context ends its process in order (REFERENCE 30, 134)',
    withChild(async (kid) => {
      const { pid } = await first(kid.call(tasks.whereAmI));
      await kid.shutdown();
      expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown', exit: { signal: 'SIGTERM' } });
      expect(() => process.kill(pid, 0)).toThrow();
      expect(await failure(kid.call(tasks.add, 1, 2))).toMatchObject({ code: expect.stringMatching(/CHANNEL|SHUTDOWN/) as unknown });
    }),
  );

  it(
    'need not be waited for: it begins at once, and `closed` tells its end (REFERENCE 29)',
    withChild(async (kid, { master }) => {
      const { pid } = await first(kid.call(tasks.whereAmI));
      const down = kid.shutdown();
      expect(startedProcesses()).toHaveLength(1);
      expect(await failure(kid.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_SHUTDOWN' });
      expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown', exit: { signal: 'SIGTERM' } });
      expect(() => process.kill(pid, 0)).toThrow();
      expect(master.router.table.get(kid.id)).toBeUndefined();
      expect(await failure(kid.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      await down;
    }),
  );

  it(
    'of a context that is gone does nothing (REFERENCE 31)',
    withChild(async (kid, { master }) => {
      const other = master.local();
      const { pid } = await first(kid.call(tasks.whereAmI));
      process.kill(pid, 'SIGKILL');
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost', exit: { signal: 'SIGKILL' } });
      await kid.shutdown();
      await kid.shutdown();
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost' });
      expect(await first(other.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'follows when the connection is cut: the process ends and is reaped (REFERENCE 32)',
    withChild(async (kid, { master }) => {
      const { pid } = await first(kid.call(tasks.whereAmI));
      const pending = failure(kid.call(tasks.hang));
      for (const stream of master.router.streams) stream.disconnect();
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost', exit: { signal: 'SIGTERM' } });
      expect(() => process.kill(pid, 0)).toThrow();
      expect(await failure(kid.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
    }),
  );

  it(
    'works before the first call, when the child has one thread still',
    withChild(async (kid) => {
      await first(kid.connected);
      await kid.shutdown();
      expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown' });
    }),
  );

  it(
    'while connecting cancels the connection (REFERENCE 126)',
    withChild(async (kid) => {
      const error = failure(kid.connected);
      const call = failure(kid.call(tasks.add, 1, 2));
      await kid.shutdown();
      expect(await error).toBeInstanceOf(ConnectError);
      expect(await call).toMatchObject({ code: 'ERR_TENDRIL_CANCELLED' });
    }),
  );

  it(
    'fires the signals of calls under way and lets their last logs arrive',
    withChild(async (kid, { records }) => {
      const error = failure(kid.call(tasks.untilCancelled));
      await first(kid.call(tasks.print));
      await kid.shutdown();
      expect(await error).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect(records.map(({ message }) => message)).toContain('no newline at the end');
    }),
  );

  it.each([['in the first call', tasks.spin] as const, ['in a timer', tasks.spinSoon] as const])('ends a child that hangs %s for ever', (_where, spin) =>
    withChild(async (kid) => {
      await first(kid.connected);
      kid.call(spin).subscribe({ error: () => undefined });
      await kid.shutdown();
      expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown', exit: { signal: 'SIGTERM' } });
    })(),
  );

  it(
    'ends a child that hangs where nothing announces it: in a timer that does not keep the process alive',
    withChild(
      async (kid) => {
        await first(kid.call(tasks.spinUnseen));
        await kid.shutdown();
        expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown' });
      },
      { graceMs: 200 },
    ),
  );

  it(
    'ends a child that hangs and swallows SIGTERM',
    withChild(async (kid) => {
      await first(kid.call(tasks.swallowSigterm));
      kid.call(tasks.spin).subscribe({ error: () => undefined });
      await kid.shutdown();
      expect(await first(kid.closed)).toMatchObject({ exit: { signal: 'SIGKILL' } });
    }),
  );

  it(
    'while user code hangs the context still answers for handles that it lacks',
    withChild(async (kid) => {
      await first(kid.call(tasks.add, 1, 1));
      kid.call(tasks.spin).subscribe({ error: () => undefined });
      // Refused by the broker thread, which does not need the main thread for it: no route to a sibling that never was.
      const mailbox = kid.handle<number>(1);
      mailbox.close();
      await kid.shutdown();
    }),
  );

  it('of a master ends all its contexts, and new ones are refused', () =>
    withTree({}, async ({ master }) => {
      const kids = [master.local(), master.local(), master.local()];
      await Promise.all(kids.map((kid) => first(kid.connected)));
      await master.shutdown();
      expect(startedProcesses()).toEqual([]);
      expect(master.contexts).toEqual([]);
      expect(() => master.local()).toThrow(ShutdownError);
    }));

  it('happens by `await using`', async () => {
    const master = new Master({ logger: false });
    const kid = master.local();
    await first(kid.connected);
    await master[Symbol.asyncDispose]();
    expect(startedProcesses()).toEqual([]);
  });

  it.each(['process.exit(0)', 'process.kill(process.pid, "SIGKILL")', 'setTimeout(() => { throw new Error("crash") })'])(
    'the end of the master by %s ends the children, even those that hang',
    async (end) => {
      const program = `
        import { Master } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
        import * as tasks from ${JSON.stringify(new URL('./fixtures/hang.mjs', import.meta.url).href)};
        const master = new Master({ logger: false });
        const idle = master.local();
        const hung = master.local();
        idle.connected.subscribe(() => hung.call(tasks.ready).subscribe(() => {
          hung.call(tasks.spin).subscribe({ error() {} });
          setImmediate(() => { ${end} });
        }));`;
      // Not the default of spawn(): jest gives tests a process.env of their own, and the mark is in that.
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'ignore', env: process.env });
      await once(child, 'exit');
      while (startedProcesses().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    },
  );

  it(
    'process.exit() in user code is told to the caller and the log, with nothing queued lost',
    withChild(async (kid, { records }) => {
      const other = failure(kid.call(tasks.hang));
      await first(kid.connected);
      const error = await failure(kid.call(tasks.logThenExit, 20_000));
      expect(error).toBeInstanceOf(CallError);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_PROCESS_EXIT', message: expect.stringContaining('process.exit(7)') as unknown });
      expect((error as CallError).remoteStack).toContain('tasks.ts');
      expect(await other).toMatchObject({ code: 'ERR_TENDRIL_PROCESS_EXIT' });
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost', exit: { code: 7 } });
      expect(records.filter(({ stream }) => stream === 'stdout')).toHaveLength(20_000);
      expect(records.some(({ level, message }) => level === 'error' && message.includes('process.exit(7)'))).toBe(true);
    }),
  );

  it(
    'nothing queued is lost when the parent reads nothing while the process exits, and then asks it to shut down',
    withChild(async (kid, { records }) => {
      const notReading = (ms: number): void => {
        const end = performance.now() + ms;
        while (performance.now() < end);
      };
      await first(kid.call(tasks.add, 1, 2));
      const error = failure(kid.call(tasks.logThenExit, 5000));
      await new Promise((resolve) => setImmediate(resolve));
      notReading(250);
      const down = kid.shutdown();
      await new Promise((resolve) => setImmediate(resolve));
      notReading(300);
      await down;
      expect(await error).toMatchObject({ code: 'ERR_TENDRIL_PROCESS_EXIT' });
      expect(records.filter(({ stream }) => stream === 'stdout')).toHaveLength(5000);
    }),
  );

  it.each([
    [tasks.throwLater, 'nobody catches this'],
    [tasks.rejectLater, 'nobody awaits this'],
  ] as const)('an uncaught error in user code is told to the callers and the log (%p)', (fn, message) =>
    withChild(async (kid, { records }) => {
      const error = await failure(kid.call(fn));
      expect(error).toBeInstanceOf(CallError);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_UNCAUGHT', message });
      await first(kid.closed);
      expect(records.some((record) => record.level === 'error' && record.message.includes(message))).toBe(true);
    })(),
  );

  it(
    'a subprocess that holds the output open does not hold up the end',
    withChild(async (kid) => {
      expect(await first(kid.call(tasks.subprocess, 'sleep 3 & echo started'))).toBe(0);
      await kid.shutdown();
      // The sleep is a legitimate process of the user; here it must not count as ours.
      await lastValueFrom(kid.closed.pipe(toArray()));
      for (const line of startedProcesses()) process.kill(Number(line.split(' ')[0]), 'SIGKILL');
    }),
  );
});
