import { describe, expect, it } from '@jest/globals';
import { filter, lastValueFrom, take, toArray } from 'rxjs';
import { Secret } from 'tendril';
import type { LogRecord } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import { first, watchForLeaks, withChild, withTree } from './support/tree.ts';

const says = (message: string) => (record: LogRecord): boolean => record.message === message;

describe('logs and output', () => {
  watchForLeaks();

  it(
    'of console and process.stdout arrive as records with their stream, in order, partial last lines included',
    withChild(async (kid, { records }) => {
      await first(kid.call(tasks.print));
      await kid.shutdown();
      const lines = records.filter(({ stream }) => stream !== undefined).map(({ stream, message }) => [stream, message]);
      expect(lines).toEqual([
        ['stdout', 'to stdout'],
        ['stderr', 'to stderr'],
        ['stdout', 'no newline at the end'],
      ]);
      expect(records[0]).toMatchObject({ level: 'info', logger: 'tendril.ctx.kid', context: 'kid', contextId: kid.id });
    }),
  );

  it('of a logger in the child arrive with their level, which is filtered there', () =>
    withTree({ logLevel: 'info' }, async ({ master, records, logged }) => {
      const kid = master.local({ name: 'kid' });
      const chatty = master.local({ name: 'chatty', logLevel: 'debug' });
      await first(kid.call(tasks.speak));
      await first(chatty.call(tasks.speak));
      await logged(says('a warning'));
      expect(records.map(({ context, level, message }) => [context, level, message])).toEqual([
        ['kid', 'warn', 'a warning'],
        ['kid', 'info', 'for your information'],
        ['chatty', 'warn', 'a warning'],
        ['chatty', 'info', 'for your information'],
      ]);
    }));

  it(
    'of subprocesses that inherit stdio arrive too, with the right stream',
    withChild(async (kid, { records }) => {
      expect(await first(kid.call(tasks.subprocess, 'echo out; echo err >&2; printf partial; cat'))).toBe(0);
      await kid.shutdown();
      const lines = records.map(({ stream, message }) => `${stream ?? ''}: ${message}`).sort();
      expect(lines).toEqual(['stderr: err', 'stdout: out', 'stdout: partial']);
    }),
  );

  it(
    '20 MB of them cannot corrupt the link, from the process itself or from a subprocess',
    withChild(async (kid, { master }) => {
      const lines = lastValueFrom(master.logs.pipe(filter(({ message }) => message === 'x'.repeat(99)), take(400_000), toArray()));
      const printed = first(kid.call(tasks.printMuch, 20_000_000));
      const copied = first(kid.call(tasks.subprocess, `yes ${'x'.repeat(99)} | head -c 20000000`));
      expect(await printed).toBe(200_000);
      expect(await copied).toBe(0);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      expect(await lines).toHaveLength(400_000);
    }),
  );

  it(
    'never show a secret',
    withChild(async (kid, { records }) => {
      await first(kid.call(tasks.secretLength, new Secret('hush')));
      await kid.shutdown();
      expect(records.map(({ message }) => message)).toEqual(['the secret is [secret] [secret] "[secret]"']);
    }),
  );

  it('traces of a child go to its raw stderr, and are not traced in turn', () =>
    withTree({ trace: 'io' }, async ({ master, records }) => {
      const kid = master.local();
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      await kid.shutdown();
      const traces = records.filter(({ message }) => message.startsWith('[tendril '));
      expect(traces.length).toBeGreaterThan(3);
      expect(traces.length).toBeLessThan(50);
      expect(traces.every(({ stream }) => stream === 'stderr')).toBe(true);
      expect(traces.some(({ message }) => message.includes('"handle":101'))).toBe(true);
    }));

  it('a logger that throws harms nothing', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local();
      master.logs.subscribe(() => undefined);
      await first(kid.call(tasks.print));
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }));
});
