import { describe, expect, it } from '@jest/globals';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstValueFrom, forkJoin, lastValueFrom, range, take, toArray } from 'rxjs';
import { CallError, ChannelError, attach, stream } from 'tendril';
import type { ConnectedContext } from 'tendril';
import * as fixtures from './fixtures/services.ts';
import { Broken, Counter, Lying, Slow, callCounter, callNamed, callParent } from './fixtures/services.ts';
import { withSockets } from './support/outlived.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

describe('a service in a child', () => {
  watchForLeaks();

  it('is started by the first call of a parent, and keeps its state (REFERENCE 180, 182, 185)', withChild(async (kid) => {
    const counter = kid.service(Counter);
    expect(await first(forkJoin([counter.increment(), counter.increment(5)]))).toEqual([1, 6]);
    expect(await first(kid.service(Counter).get())).toBe(6);
    expect(await first(counter.who())).toBe(0);
  }));

  it('gives streams, with flow control', withChild(async (kid) => {
    expect(await lastValueFrom(kid.service(Counter).numbers(3000).pipe(toArray()))).toHaveLength(3000);
    expect(await lastValueFrom(kid.service(Counter).ticks(3).pipe(toArray()))).toEqual([0, 1, 2]);
  }));

  it('gives its errors to the caller', withChild(async (kid) => {
    const error = await failure(kid.service(Counter).fail());
    expect(error).toBeInstanceOf(CallError);
    expect(error).toMatchObject({ code: 'ERR_MINE', message: 'it failed', remoteName: 'TypeError' });
  }));

  it('refuses what its class does not list, or lists without a policy', withChild(async (kid) => {
    const counter = kid.service(Counter);
    const any = counter as unknown as { hidden(): ReturnType<typeof counter.get>; constructor: unknown };
    expect(await failure(any.hidden())).toMatchObject({ code: 'ERR_TENDRIL_NO_METHOD' });
    expect(await failure(counter.forNobody())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
    expect(await failure(counter.fromSiblings())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
    expect(await failure(counter.throwing())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
    expect(await first(counter.both())).toBe('both');
  }));

  it('tells of a policy that throws once, however often it is asked', withChild(async (kid, { records, logged }) => {
    for (let call = 0; call < 5; call++) expect(await failure(kid.service(Counter).throwing())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
    await first(kid.call(fixtures.say, 'behind'));
    await logged(({ message }) => message === 'behind');
    expect(records.filter(({ message }) => message.includes('the policy is broken'))).toHaveLength(1);
  }));

  it('checks arguments (REFERENCE 181)', withChild(async (kid) => {
    expect(await first(kid.service(Counter).upper('text'))).toBe('TEXT');
    expect(await failure(kid.service(Counter).upper(1 as unknown as string))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_ARGUMENTS' });
  }));

  it('that cannot start fails each call, and one that is none says so', withChild(async (kid) => {
    expect(await failure(kid.service(Broken).get())).toMatchObject({ message: 'it does not start' });
    expect(await failure(kid.service(Broken).get())).toMatchObject({ message: 'it does not start' });
    expect(await failure((kid.service(Lying) as unknown as typeof kid.service extends never ? never : { missing(): ReturnType<ReturnType<typeof kid.service<typeof Counter>>['get']> }).missing())).toMatchObject({ code: 'ERR_TENDRIL_BAD_SERVICE' });
    expect(await failure((kid.service('nobody') as unknown as { get(): ReturnType<ReturnType<typeof kid.service<typeof Counter>>['get']> }).get())).toMatchObject({ code: 'ERR_TENDRIL_NO_SERVICE' });
  }));

  it('can be called in the context itself', withChild(async (kid) => {
    expect(await first(kid.call(fixtures.callSelf))).toBe(10);
    expect(await first(kid.service(Counter).get())).toBe(10);
  }));

  it('can be started in a child of a child', withChild(async (kid, { master }) => {
    expect(await first(kid.call(fixtures.startsInChild))).toEqual([1, 2]);
    const below = master.local({ via: kid });
    expect(await first(below.service(Counter).increment())).toBe(1);
  }));
});

describe('a service and those that are not above it', () => {
  watchForLeaks();

  it('refuses siblings what its policies do not admit, and gives them the rest', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      await first(b.service(Counter).increment());
      expect(await first(a.call(callCounter, b, 'get'))).toEqual({ value: 1 });
      expect(await first(a.call(callCounter, b, 'fromSiblings'))).toEqual({ value: 'hello sibling' });
      expect(await first(a.call(callCounter, b, 'who'))).toEqual({ value: a.id });
      expect(await first(a.call(fixtures.numbersOf, b, 1000))).toHaveLength(1000);
      for (const method of ['increment', 'fromChildren', 'forNobody', 'both'] as const) expect(await first(a.call(callCounter, b, method))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
      expect(await first(a.call(callCounter, b, 'hidden'))).toMatchObject({ code: 'ERR_TENDRIL_NO_METHOD' });
      expect(await first(a.call(callCounter, b, 'upper', 1))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_ARGUMENTS' });
    }));

  it('is not started by a sibling, also when others run there (REFERENCE 184)', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      await first(b.call(process.cwd));
      expect(await first(a.call(callCounter, b, 'get'))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'invalid-handle' });
      await first(b.service(Slow).state());
      const refused = await first(a.call(callCounter, b, 'get'));
      expect(refused).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_NOT_ACTIVE' });
      expect(refused.message).toContain('is not yet activated in this context, and the caller is not privileged, therefore autoactivation is disabled');
    }));

  it.each([['shut down', (b: ConnectedContext) => b.shutdown()], ['killed', async (b: ConnectedContext) => { process.kill(await first(b.service(Counter).pid()), 'SIGKILL'); }]])('ends the calls of siblings when its context is %s', (_how, end) =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      await first(b.call(fixtures.serveSlow));
      const outcome = first(a.call(callNamed, b, 'slow', 'work'));
      for (let turn = 0; turn < 500 && (await first(b.service<typeof Slow>('slow').state())).running === 0; turn++);
      await end(b);
      expect(await outcome).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await first(a.call(callNamed, b, 'slow', 'work'))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'no-route' });
    }));

  it('is served by a child as long as it wants to; late calls get invalid-handle (REFERENCE 187)', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local({ name: 'a' }), master.local({ name: 'b' })];
      await first(b.call(fixtures.serveHere, 'mine'));
      expect(await first(a.call(callNamed, b, 'mine', 'fromSiblings'))).toEqual({ value: 'hello sibling' });
      expect(await first(a.call(callNamed, b, 'other', 'fromSiblings'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_NOT_ACTIVE' });
      await first(b.call(fixtures.stopServing));
      expect(await first(a.call(callNamed, b, 'mine', 'fromSiblings'))).toMatchObject({ reason: 'invalid-handle' });
    }));
});

describe('a service in a child that has children', () => {
  watchForLeaks();

  it.each([['before it is started', true], ['after', false]])('knows those below it that were made %s, at any depth', (_when, before) =>
    withTree({}, async ({ master }) => {
      const [kid, other] = [master.local({ name: 'kid' }), master.local({ name: 'other' })];
      if (!before) await first(kid.service(Counter).increment());
      const below = master.local({ via: kid, name: 'below' });
      const deep = master.local({ via: below, name: 'deep' });
      await first(deep.call(process.cwd));
      await first(kid.service(Counter).increment());
      for (const context of [below, deep]) {
        expect(await first(context.call(callCounter, kid, 'fromChildren'))).toEqual({ value: 'hello child' });
        for (const method of ['fromSiblings', 'increment']) expect(await first(context.call(callCounter, kid, method))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
      }
      expect(await first(other.call(callCounter, kid, 'fromSiblings'))).toEqual({ value: 'hello sibling' });
      expect(await first(other.call(callCounter, kid, 'fromChildren'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
      expect(await first(deep.call(callCounter, below, 'fromChildren'))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
    }));

  it('is called by a child that its own code has made', withChild(async (kid) => {
    await first(kid.service(Counter).increment());
    expect(await first(kid.call(fixtures.calledByChild))).toEqual([{ value: 'hello child' }, expect.objectContaining({ code: 'ERR_TENDRIL_SERVICE_REFUSED' }), expect.objectContaining({ code: 'ERR_TENDRIL_SERVICE_REFUSED' })]);
  }));
});

describe('a service of the master', () => {
  watchForLeaks();

  it('is called by children, as far as they may (REFERENCE 180)', withChild(async (kid, { master }) => {
    const counter = new Counter();
    counter.count = 41;
    master.serve(counter);
    expect(await first(kid.call(callParent, 'get'))).toEqual({ value: 41 });
    expect(await first(kid.call(callParent, 'fromChildren'))).toEqual({ value: 'hello child' });
    expect(await first(kid.call(callParent, 'who'))).toEqual({ value: kid.id });
    expect(await first(kid.call(callParent, 'increment'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
    expect(await first(kid.call(callParent, 'fromSiblings'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
    expect(counter.count).toBe(41);
  }));

  it('is not there unless it is served, and not any more when it is closed (REFERENCE 187)', withChild(async (kid, { master }) => {
    expect(await first(kid.call(callParent, 'get'))).toMatchObject({ reason: 'invalid-handle' });
    const other = master.serve(Slow, { name: 'slow' });
    expect(await first(kid.call(callParent, 'get'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_NOT_ACTIVE' });
    const serving = master.serve(Counter);
    expect(await first(kid.call(callParent, 'get'))).toEqual({ value: 0 });
    serving.close();
    expect(await first(kid.call(callParent, 'get'))).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_NOT_ACTIVE' });
    other.close();
    expect(await first(kid.call(callParent, 'get'))).toMatchObject({ reason: 'invalid-handle' });
  }));

  it('runs in-process for the master itself (REFERENCE 179)', () =>
    withTree({}, async ({ master }) => {
      const counter = master.self.service(Counter);
      expect(await first(counter.increment(3))).toBe(3);
      expect(await firstValueFrom(counter.get())).toBe(3);
      expect(await firstValueFrom(counter.numbers(1000).pipe(take(2), toArray()))).toEqual([0, 1]);
      expect(await failure(counter.fromChildren())).toMatchObject({ code: 'ERR_TENDRIL_SERVICE_REFUSED' });
      expect(await failure(counter.fail())).toBeInstanceOf(CallError);
    }));

  it('ends its calls when the caller is gone', withChild(async (kid, { master }) => {
    const slow = new Slow();
    const serving = master.serve(slow, { name: 'slow' });
    const calls = kid.call(callNamed, master.self, 'slow', 'work');
    const ended = failure(calls);
    for (let turn = 0; turn < 1000 && slow.running === 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
    await kid.shutdown();
    expect(await ended).toBeInstanceOf(ChannelError);
    for (let turn = 0; turn < 1000 && slow.aborted === 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(slow).toMatchObject({ running: 0, aborted: 1 });
    serving.close();
  }));
});

describe('a service', () => {
  watchForLeaks();

  it('is told of its end when it is closed, and when its context ends', async () => {
    const ends: string[] = [];
    class Held extends Counter {
      readonly name: string;

      constructor(name: string) {
        super();
        this.name = name;
      }

      [Symbol.dispose](): void {
        ends.push(this.name);
      }
    }
    await withTree({}, async ({ master }) => {
      const closed = master.serve(new Held('closed'), { name: 'closed' });
      master.serve(new Held('kept'), { name: 'kept' });
      expect(() => master.serve(new Held('twice'), { name: 'kept' })).toThrow('is served here already');
      closed.close();
      closed.close();
      expect(ends).toEqual(['closed']);
      await Promise.resolve();
    });
    expect(ends).toEqual(['closed', 'kept']);
  });

  it('has callers with deadlines, which end what they asked for', () =>
    withTree({}, async ({ master }) => {
      const slow = new Slow();
      master.serve(slow);
      expect(await failure(master.self.with({ deadline: 20 }).service(Slow).work())).toMatchObject({ code: 'ERR_TENDRIL_DEADLINE' });
      expect(slow).toMatchObject({ begun: 1, aborted: 1 });
    }));

  it('takes streams as arguments, and relays them', withChild(async (kid) => {
    const numbers = stream(range(0, 1000));
    expect(await first(kid.service(Counter).sum(numbers))).toBe(499_500);
    expect(await lastValueFrom(kid.service(Counter).relay(stream(range(0, 5))).pipe(toArray()))).toEqual([0, 1, 2, 3, 4]);
  }));

  it('needs a class that can be named, and options that can work', () =>
    withTree({}, async ({ master }) => {
      class Local extends Counter {}
      expect(() => master.self.service(Local)).toThrow('export it, or serve it under a name');
      expect(() => master.serve(new Local())).toThrow('export it, or serve it under a name');
      expect(() => master.serve(new Local(), { name: '' })).toThrow('1 to 256 characters');
      expect(() => master.serve({ methods: {} }, { name: 'plain' })).toThrow('no static member methods');
      class Negative {
        static readonly methods = { go: { concurrency: 0 } };

        go(): number {
          return 1;
        }
      }
      expect(() => master.serve(Negative, { name: 'negative' })).toThrow('concurrency of negative.go must be a whole number from 1');
      expect(() => master.self.service(7 as never)).toThrow('got number');
      master.serve(new Local(), { name: 'local' });
      expect(await first((master.self.service<typeof Local>('local')).increment(2))).toBe(2);
    }));

  it('comes to a child as far as the policy for modules admits its module; what runs it always does', () =>
    withTree({ modules: { allow: [fileURLToPath(new URL('./fixtures/post.ts', import.meta.url))] } }, async ({ master }) => {
      const kid = master.local();
      expect(await failure(kid.service(Counter).get())).toMatchObject({ code: 'ERR_TENDRIL_MODULE_REFUSED' });
      expect(await failure(kid.service<typeof Counter>('none').get())).toMatchObject({ code: 'ERR_TENDRIL_NO_SERVICE' });
    }));

  it(
    'is started, and called, by a process that is attached with full authority',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        await first(kid.connected);
        const { path } = await master.listen({ path: join(directory, 'socket') });
        const tree = await attach({ path });
        const attached = tree.context('kid')!;
        expect(await first(attached.service(Counter).increment(3))).toBe(3);
        expect(await lastValueFrom(attached.service(Counter).numbers(1000).pipe(toArray()))).toHaveLength(1000);
        expect(await first(attached.chain().service(Counter).increment(1))).toBe(4);
        expect(await first(kid.service(Counter).get())).toBe(4);
        await tree.close();
      }),
    ),
  );

  it('starts anew when its context is connected again', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local({ reconnect: { initialDelayMs: 5 } });
      const counter = kid.service(Counter);
      expect(await first(counter.increment(5))).toBe(5);
      const lost = failure(counter.ticks(1_000_000));
      process.kill(await first(counter.pid()), 'SIGKILL');
      expect(await lost).toBeInstanceOf(ChannelError);
      expect(await first(counter.increment(1))).toBe(1);
    }));
});
