import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { UsageError, pushAll } from 'tendril';
import type { ConnectedContext, Master, PushAllEvent } from 'tendril';
import * as tasks from './fixtures/remote-tasks.ts';
import { first, watchForLeaks, withTree } from './support/tree.ts';

/** Several windows. */
const SIZE = 12_000_000;

let directory = '';
const at = (name: string): string => join(directory, name);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tendril-push-all-'));
  writeFileSync(at('local'), Buffer.alloc(SIZE, 'some bytes. '));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Contexts that have a root directory of their own each, so that one path is a file of each. */
function rooted(master: Master, name: string, via?: ConnectedContext): ConnectedContext {
  mkdirSync(at(name));
  return master.local({ name, ...(via && { via }) });
}

/** What became of each: its name, and `done` or a code. */
async function outcomes(events: ReturnType<typeof pushAll>): Promise<Record<string, string | undefined>> {
  const last = new Map<string, PushAllEvent>();
  for (const event of await lastValueFrom(events.pipe(toArray()), { defaultValue: [] })) last.set(event.context.name, event);
  return Object.fromEntries([...last].map(([name, { progress, error }]) => [name, progress ? (progress.done ? 'done' : 'begun') : (error as { code?: string }).code]));
}

describe('pushAll()', () => {
  watchForLeaks();

  it('writes to contexts anywhere in the tree, and crosses each link once', () =>
    withTree({}, async ({ master }) => {
      const bastion = rooted(master, 'bastion');
      const rack = rooted(master, 'rack', bastion);
      const leaves = ['a', 'b', 'c'].map((name) => rooted(master, name, rack));
      const alone = rooted(master, 'alone');
      // All write one path on this machine; what arrives last is as good as what arrives first.
      const all = [...leaves, rack, alone];
      await Promise.all(all.map((context) => first(context.call(tasks.pid))));
      const before = bastion.stats().sent?.bytes ?? 0;
      expect(await outcomes(pushAll([...all, rack], at('local'), at('there')))).toEqual({ a: 'done', b: 'done', c: 'done', rack: 'done', alone: 'done' });
      expect(readFileSync(at('there')).equals(readFileSync(at('local')))).toBe(true);
      // Four of them are behind the bastion.
      expect((bastion.stats().sent?.bytes ?? 0) - before).toBeLessThan(1.1 * SIZE);
      expect(readdirSync(directory).filter((name) => name.endsWith('.part'))).toEqual([]);
    }));

  it('leaves the others alone when one fails: before it begins, in the middle, and never connected', () =>
    withTree({}, async ({ master }) => {
      const rack = master.local({ name: 'rack' });
      const good = ['a', 'b'].map((name) => master.local({ name, via: rack }));
      const doomed = master.local({ name: 'doomed', via: rack });
      const never = master.local({ name: 'never', via: rack, nodePath: '/no/such/node' });
      const pid = await first(doomed.call(tasks.pid));
      let killed = false;
      const events = pushAll([...good, doomed, never], at('local'), at('there'));
      const seen: PushAllEvent[] = [];
      await new Promise<void>((resolve, reject) => {
        events.subscribe({
          next: (event) => {
            seen.push(event);
            if (killed || event.progress === undefined || event.progress.bytes === 0) return;
            killed = true;
            process.kill(pid, 'SIGKILL');
          },
          error: reject,
          complete: resolve,
        });
      });
      for (const context of good) expect(seen.findLast((event) => event.context === context)?.progress?.done).toBe(true);
      const ends = seen.filter((event) => event.error !== undefined).map(({ context, error }) => [context.name, (error as { code?: string }).code]);
      expect(Object.fromEntries(ends)).toMatchObject({ never: 'ERR_TENDRIL_NODE_MISSING' });
      // It may have been fast enough.
      if ('doomed' in Object.fromEntries(ends)) expect(Object.fromEntries(ends)).toMatchObject({ doomed: 'ERR_TENDRIL_CHANNEL' });
      expect(await outcomes(pushAll(good, at('local'), at('no/such/directory')))).toEqual({ a: 'ERR_TENDRIL_FILE_MISSING', b: 'ERR_TENDRIL_FILE_MISSING' });
    }));

  it('fails all when the file cannot be read, and those behind a context that is lost', () =>
    withTree({}, async ({ master }) => {
      const rack = master.local({ name: 'rack' });
      const behind = ['a', 'b'].map((name) => master.local({ name, via: rack }));
      const alone = master.local({ name: 'alone' });
      await expect(lastValueFrom(pushAll([...behind, alone], at('nothing'), at('there')))).rejects.toMatchObject({ name: 'FileError', code: 'ERR_TENDRIL_FILE_MISSING' });
      const pid = await first(rack.call(tasks.pid));
      process.kill(pid, 'SIGKILL');
      const result = await outcomes(pushAll([...behind, alone], at('local'), at('there')));
      expect(result).toMatchObject({ alone: 'done' });
      for (const name of ['a', 'b']) expect(result[name]).toMatch(/^ERR_TENDRIL_(?:CHANNEL|VIA_LOST)$/);
      expect(await outcomes(pushAll([], at('local'), at('there')))).toEqual({});
      expect(() => pushAll([alone], at('local'), 'relative')).toThrow(UsageError);
    }));
});
