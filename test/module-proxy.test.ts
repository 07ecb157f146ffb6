import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { catchError, forkJoin, isObservable, lastValueFrom, of, toArray } from 'rxjs';
import { CallError, EncodeError, TendrilError, UsageError } from 'tendril';
import type * as CommonTasks from './fixtures/tasks-cjs.cjs';
import type * as EsmTasks from './fixtures/tasks-esm.mjs';
import type * as InChild from './fixtures/finder/in-child.mjs';
import type * as Tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

const url = new URL('./fixtures/tasks.ts', import.meta.url);

describe('context.module()', () => {
  watchForLeaks();

  it(
    'has a method for every function, with its results as an observable',
    withChild(async (kid) => {
      const tasks = kid.module<typeof Tasks>(url);
      expect(await first(tasks.add(1, 2))).toBe(3);
      expect(await first(tasks.default())).toBe('default');
      expect(await first(tasks.later(7))).toBe(7);
      expect(await lastValueFrom(tasks.counting(3).pipe(toArray()))).toEqual([0, 1, 2]);
      expect(await lastValueFrom(tasks.generated(3).pipe(toArray()))).toEqual([0, 1, 2]);
      expect(await first(tasks.Counter.increment(5))).toBe(5);
      expect(await first(tasks.Counter.increment())).toBe(6);
      expect(await first(kid.module<typeof EsmTasks>(new URL('./fixtures/tasks-esm.mjs', import.meta.url)).quadruple(3))).toBe(12);
      expect(await first(kid.module<typeof CommonTasks>(new URL('./fixtures/tasks-cjs.cjs', import.meta.url)).triple(3))).toBe(9);
    }),
  );

  it(
    'takes a path, a URL as a text, and a builtin module',
    withChild(async (kid) => {
      expect(await first(kid.module<typeof Tasks>(fileURLToPath(url)).greet('you'))).toBe('hello you');
      expect(await first(kid.module<typeof Tasks>(url.href).greet('you'))).toBe('hello you');
      expect(await first(kid.module<typeof import('node:path')>('node:path').join('a', 'b'))).toBe('a/b');
      expect((await first(kid.module<typeof import('node:buffer')>('node:buffer').Buffer.from('abc'))).length).toBe(3);
      // What the compiler would write is the name of what it would write it from.
      expect(await first(kid.module<typeof Tasks>(new URL('./fixtures/tasks.js', import.meta.url)).add(2, 2))).toBe(4);
    }),
  );

  it(
    'calls the very functions that call() calls, in the same instance of their module',
    withChild(async (kid) => {
      const { Counter } = await import('./fixtures/tasks.ts');
      const tasks = kid.module<typeof Tasks>(url);
      expect(await first(kid.call(Counter.increment))).toBe(1);
      // Counter is of the module helper.ts, and re-exported here.
      expect(await first(tasks.Counter.increment())).toBe(2);
    }),
  );

  it(
    'is cold, and a subscription is a call',
    withChild(async (kid) => {
      const call = kid.module<typeof Tasks>(url).Counter.increment();
      expect(isObservable(call)).toBe(true);
      expect(await first(call)).toBe(1);
      expect(await first(call)).toBe(2);
    }),
  );

  it(
    'fails as call() fails',
    withChild(async (kid) => {
      const tasks = kid.module<typeof Tasks & { noSuchFunction(): void; Counter: { noSuchMethod(): void } }>(url);
      expect(await failure(tasks.fail('broken'))).toMatchObject({ message: 'broken', code: 'E_BAD', remoteName: 'Error' });
      const refused = await failure(tasks.identity({ deep: [() => 1] } as unknown));
      expect(refused).toBeInstanceOf(EncodeError);
      expect((refused as EncodeError).path).toBe('args[0].deep[0]');
      expect(await failure(tasks.noSuchFunction())).toMatchObject({ code: 'ERR_TENDRIL_NO_FUNCTION' });
      expect(await failure(tasks.Counter.noSuchMethod())).toMatchObject({ code: 'ERR_TENDRIL_NO_FUNCTION' });
      expect(await failure(kid.module<{ nothing(): void }>(new URL('./fixtures/no-such-file.ts', import.meta.url)).nothing())).toBeInstanceOf(TendrilError);
      expect(await first(tasks.add(1, 1))).toBe(2);
    }),
  );

  it(
    'is not there in a child yet, as call() is not',
    withChild(async (kid) => {
      expect(await failure(kid.module<typeof InChild>(new URL('./fixtures/finder/in-child.mjs', import.meta.url)).openModule())).toMatchObject({ code: 'ERR_TENDRIL_CHILD_CALL' });
    }),
  );

  it(
    'takes the options of calls',
    withChild(async (kid) => {
      const controller = new AbortController();
      const tasks = kid.with({ signal: controller.signal }).module<typeof Tasks>(url);
      const failed = failure(tasks.untilCancelled());
      await first(tasks.add(1, 1));
      controller.abort(new Error('enough'));
      expect(await failed).toMatchObject({ message: 'enough' });
      const chain = kid.chain().module<typeof Tasks>(url);
      const steps = forkJoin([chain.step('a', 5), chain.step('b', 0), chain.step('c', 0, 'fail').pipe(catchError((error: Error) => of(error))), chain.step('d', 0).pipe(catchError((error: Error) => of(error)))]);
      expect(await first(steps)).toEqual([['a'], ['a', 'b'], expect.any(CallError), expect.any(CallError)]);
    }),
  );

  it('is no promise, and can be printed, compared and probed', () =>
    withTree({}, async ({ master }) => {
      const tasks = master.local().module<typeof Tasks>(url);
      const members = { module: tasks, fn: tasks.add, cls: tasks.Counter, method: tasks.Counter.increment };
      for (const member of Object.values(members) as unknown as Record<PropertyKey, unknown>[]) {
        expect(member['then']).toBeUndefined();
        expect(await Promise.resolve(member)).toBe(member);
        for (const symbol of [Symbol.iterator, Symbol.asyncIterator, Symbol.toPrimitive, Symbol.toStringTag, Symbol.for('observable')]) expect(member[symbol]).toBeUndefined();
        expect(member).toEqual(member);
        expect(() => { expect(member).toEqual({ other: 1 }); }).toThrow('toEqual');
        expect(() => { expect(member).toMatchObject({ other: 1 }); }).toThrow('toMatchObject');
        expect(member).not.toEqual(expect.stringContaining('x'));
        expect(() => JSON.stringify(member)).not.toThrow();
        expect(() => `${member as unknown as string}${inspect(member, { showProxy: true })}`).not.toThrow();
      }
      expect(inspect(tasks)).toBe(`RemoteModule(${url.href})`);
      expect(inspect({ tasks })).toBe(`{ tasks: RemoteModule(${url.href}) }`);
      expect(tasks.add).toBe(tasks.add);
      expect(tasks.Counter.increment).toBe(tasks.Counter.increment);
      expect(Reflect.set(tasks, 'add', 1)).toBe(false);
      expect(() => new (tasks.Counter as unknown as new () => unknown)()).toThrow(TypeError);
    }));

  it.each([
    ['./tasks.ts', "write new URL('./tasks.ts', import.meta.url)"],
    ['../tasks.js', "write new URL('../tasks.js', import.meta.url)"],
    ['tasks.mjs', "write new URL('./tasks.mjs', import.meta.url)"],
    ['os', "write 'node:os'"],
    ['lodash', "write new URL(import.meta.resolve('lodash'))"],
    ['node:nothing', 'the module must be a file at the master'],
    [new URL('https://tasks.example/tasks.js'), 'the module must be a file at the master'],
    [undefined, 'the module must be a file at the master'],
  ])('refuses %s, and says what to write', (module, advice) =>
    withTree({}, ({ master }) => {
      const open = (): unknown => master.local().module(module as string);
      expect(open).toThrow(UsageError);
      expect(open).toThrow(`module() takes the URL or the absolute path of a file, or a builtin module such as node:os, got ${inspect(module)}; ${advice}`);
      return Promise.resolve();
    }));
});
