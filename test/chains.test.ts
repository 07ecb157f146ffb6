import { describe, expect, it } from '@jest/globals';
import { filter, firstValueFrom, forkJoin } from 'rxjs';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import os from 'node:os';
import { CallError, EncodeError, UsageError } from 'tendril';
import type { ConnectedContext } from 'tendril';
import * as chains from './fixtures/chains.ts';
import { Counter } from './fixtures/services.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

/** The errors of calls, in their order. */
function failures(calls: readonly Parameters<typeof failure>[0][]): Promise<(Error & { code?: string })[]> {
  return Promise.all(calls.map((call) => failure(call)));
}

describe('a chain', () => {
  watchForLeaks();

  it('gives the result of a call to a later one, where it stays, in one round trip', withChild(async (kid) => {
    const chain = kid.chain();
    // A Connection cannot be sent.
    expect(await failure(kid.call(chains.open))).toMatchObject({ code: 'ERR_TENDRIL_ENCODE' });
    expect(await first(chain.call(chains.read, chain.call(chains.open), 'hello'))).toMatch(/^\d+: hello$/);
    const io = new Set<unknown>();
    const note = (message: unknown): void => {
      const { srcId, handle } = message as { srcId: number; handle: number };
      if (srcId === 0 || handle > 1000) io.add(srcId === 0 ? `to ${String(handle)} ${String(io.size)}` : 'answer');
    };
    subscribe('tendril:io', note);
    expect(await first(chain.call(chains.read, chain.call(chains.derive, chain.call(chains.open)), 'hello'))).toMatch(/hello$/);
    unsubscribe('tendril:io', note);
    // Three calls before the first answer; then what was kept is let go.
    expect([...io].slice(0, 4)).toEqual(['to 101 0', 'to 101 1', 'to 101 2', 'answer']);
    const again = chain.module<typeof chains>(new URL('./fixtures/chains.ts', import.meta.url));
    expect(await first(again.read(again.derive(again.derive(again.open())), 'deep'))).toMatch(/^\d+: deep$/);
    expect(await first(again.Connection.read(again.Connection.open(), 'static'))).toMatch(/^\d+: static$/);
  }));

  it('makes a call once that is named twice in one expression, and again for the next subscription', withChild(async (kid) => {
    const chain = kid.chain();
    const connection = chain.call(chains.open);
    const [one, other] = await first(chain.call(chains.pair, connection, chain.call(chains.derive, connection))) as [number, number];
    expect(one).toBe(other);
    const both = chain.call(chains.pair, connection, chain.call(chains.open));
    const [two, three] = await first(both) as [number, number];
    const [four] = await first(both) as [number, number];
    expect(new Set([one, two, three, four]).size).toBe(4);
  }));

  it('of a builtin module takes results, too', withChild(async (kid) => {
    const chain = kid.chain();
    const path = chain.module<typeof import('node:path')>('node:path');
    expect(await first(path.join('/a', path.basename('/b/c')))).toBe('/a/c');
    expect(await first(chain.call(chains.add, chain.call(chains.add, 1, 2), chain.call(chains.add, 3, 4)))).toBe(10);
    expect(await first(chain.call(os.hostname))).toBe(os.hostname());
  }));

  it('fails the call that takes the result of one that fails with the same error, without running it (REFERENCE 122)', withChild(async (kid) => {
    const chain = kid.chain();
    const [failed, later] = await failures([chain.call(chains.read, chain.call(chains.fail)), chain.call(chains.append, 'later')]) as [CallError, CallError];
    expect(failed).toBeInstanceOf(CallError);
    expect(failed).toMatchObject({ code: 'ERR_NOT_OPEN', message: 'it does not open', remoteName: 'RangeError' });
    expect(later).toMatchObject({ code: failed.code, message: failed.message, remoteStack: failed.remoteStack });
    expect(await first(kid.call(chains.append, 'end'))).toEqual(['end']);
  }));

  it('goes on when it is reset, behind what was called before', withChild(async (kid) => {
    const chain = kid.chain();
    const before = failures([chain.call(chains.fail), chain.call(chains.append, 'not run')]);
    chain.reset();
    const after = first(chain.call(chains.append, 'run'));
    expect(await after).toEqual(['run']);
    expect((await before).map(({ code }) => code)).toEqual(['ERR_NOT_OPEN', 'ERR_NOT_OPEN']);
    expect(await first(chain.call(chains.append, 'run again'))).toEqual(['run', 'run again']);
    // What could not be sent has failed the chain here.
    expect(await failure(chain.call(chains.append, (() => 1) as unknown as string))).toBeInstanceOf(EncodeError);
    expect(await failure(chain.call(chains.append, 'not run'))).toBeInstanceOf(EncodeError);
    chain.reset();
    expect(await first(chain.call(chains.append, 'last'))).toEqual(['run', 'run again', 'last']);
  }));

  it('that failed long ago is forgotten behind a thousand others, on both sides', withChild(async (kid) => {
    const named = (index: number): ReturnType<typeof kid.with> => kid.with({ chain: `chain ${String(index)}` });
    await failures(Array.from({ length: 1100 }, (_, index) => named(index).call(chains.fail)));
    expect(await failure(named(1099).call(chains.append, 'no'))).toMatchObject({ code: 'ERR_NOT_OPEN' });
    expect(await first(named(0).call(chains.append, 'yes'))).toEqual(['yes']);
  }));

  it('fails alone: others of the same context go on (REFERENCE 123)', withChild(async (kid) => {
    const [one, other] = [kid.chain(), kid.chain()];
    const [broken, good] = [failures([one.call(chains.fail), one.call(chains.add, 1, 1)]), first(other.call(chains.add, 1, 2))];
    expect((await broken).map(({ message }) => message)).toEqual(['it does not open', 'it does not open']);
    expect(await good).toBe(3);
  }));

  it('cancels what was called for an argument with the call that takes it, and lets go of it', withChild(async (kid) => {
    const chain = kid.chain();
    const subscription = chain.call(chains.read, chain.call(chains.slow)).subscribe({ error: () => undefined });
    await first(kid.call(chains.append, 'begun'));
    subscription.unsubscribe();
    const log = async (): Promise<string[]> => first(kid.call(chains.append, 'look'));
    for (let turn = 0; turn < 500 && !(await log()).includes('aborted'); turn++);
    expect(await log()).not.toContain('read');
    expect(await failure(chain.call(chains.append, 'behind'))).toMatchObject({ code: 'ABORT_ERR' });
    chain.reset();
    expect(await first(chain.call(chains.read, chain.call(chains.open), 'x'))).toMatch(/x$/);
  }));

  it('does not take what is of another chain', withChild(async (kid) => {
    const [one, other] = [kid.chain(), kid.chain()];
    expect(await failure(one.call(chains.read, other.call(chains.open)))).toBeInstanceOf(UsageError);
    const connection = one.call(chains.open);
    one.reset();
    expect(await failure(one.call(chains.read, connection))).toMatchObject({ code: 'ERR_TENDRIL_CHAIN' });
  }));

  it('has calls of services, which run in its order', withChild(async (kid) => {
    const chain = kid.chain();
    const counter = chain.service(Counter);
    const values = await first(forkJoin([counter.increment(), counter.increment(), counter.get()]));
    expect(values).toEqual([1, 2, 2]);
    expect(await failure(counter.fail())).toMatchObject({ code: 'ERR_MINE' });
    expect(await failure(counter.get())).toMatchObject({ code: 'ERR_MINE' });
  }));

  it('is failed by the loss of its context: what comes behind does not run in the next process', () =>
    withTree({}, async ({ master }) => {
      const kid: ConnectedContext = master.local({ name: 'kid', reconnect: { initialDelayMs: 5 } });
      const chain = kid.chain();
      const pid = (await first(kid.call(process.cwd)), await first(kid.module<{ parentPid: () => number; whereAmI: () => { pid: number } }>(new URL('./fixtures/tasks.ts', import.meta.url)).whereAmI())).pid;
      const lost = failure(chain.call(chains.slow));
      await first(kid.call(chains.append, 'begun'));
      const back = firstValueFrom(kid.connection.pipe(filter(({ state, ...rest }) => state === 'connected' && 'attempt' in rest && rest.attempt > 0)));
      process.kill(pid, 'SIGKILL');
      expect(await lost).toMatchObject({ reason: 'respondent-gone' });
      await back;
      expect(await failure(chain.call(chains.append, 'not run'))).toMatchObject({ reason: 'respondent-gone' });
      chain.reset();
      expect(await first(chain.call(chains.append, 'run'))).toEqual(['run']);
    }));

  it('works in a child for its own children', withChild(async (kid, { master }) => {
    const below = master.local({ via: kid });
    const chain = below.chain();
    expect(await first(chain.call(chains.read, chain.call(chains.open), 'below'))).toMatch(/below$/);
  }));
});

describe('a result of a kind that cannot be sent', () => {
  watchForLeaks();

  it('fails its call, which is told where in it the trouble is; the context goes on (REFERENCE 117)', withChild(async (kid) => {
    expect(await failure(kid.call(chains.open))).toMatchObject({ code: 'ERR_TENDRIL_ENCODE', message: 'result cannot be sent: an instance of Connection; send a plain object, such as {...it}' });
    expect(await first(kid.call(chains.add, 1, 2))).toBe(3);
  }));
});
