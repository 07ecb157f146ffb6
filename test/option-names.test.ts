import { describe, expect, it } from '@jest/globals';
import { Master, attach } from 'tendril';
import { METHOD_OPTIONS } from '../src/parent/connection-methods.ts';
import * as family from './fixtures/family.ts';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

/** What plain JavaScript may pass. */
type Loose = Record<string, unknown>;

function refusal(of: () => unknown): unknown {
  try {
    of();
  } catch (error) {
    return error;
  }
  return undefined;
}

function bad(message: string): object {
  return { name: 'UsageError', code: 'ERR_TENDRIL_BAD_OPTION', message };
}

describe('an option that nobody knows', () => {
  watchForLeaks();

  it.each([
    [{ loglevel: 'debug' }, 'Master has no option loglevel; did you mean logLevel?'],
    [{ maxMesageSize: 1e6 }, 'Master has no option maxMesageSize; did you mean maxMessageSize?'],
    [{ quotas: { id: 5 } }, 'quotas has no option id; did you mean ids?'],
    [{ keepalive: { intervalMs: 1000, countMax: 3, count: 3 } }, 'keepalive has no option count; did you mean countMax?'],
    [{ modules: { denny: ['x'] } }, 'modules has no option denny; did you mean deny?'],
    [{ modules: { secrets: ['x'] } }, 'modules has no option secrets; it has allow, deny, local, assets'],
  ])('of a master is refused: %j', (options, message) => {
    expect(refusal(() => new Master(options as Loose))).toMatchObject(bad(message));
  });

  it.each(Object.keys(METHOD_OPTIONS))('of %s() is refused, and nothing is begun', (method) =>
    withTree({}, ({ master }) => {
      const make = (options: Loose): unknown => (master as unknown as Record<string, (options: Loose) => unknown>)[method]!(options);
      expect(refusal(() => make({ boottimeoutms: 5 }))).toMatchObject(bad(`${method}() has no option boottimeoutms; did you mean bootTimeoutMs?`));
      expect(refusal(() => make({ colour: 'red' }))).toMatchObject({ message: expect.stringMatching(/^\w+\(\) has no option colour; it has .*nodePath.*, via, name, title/) as unknown });
      expect(master.contexts).toEqual([]);
      return Promise.resolve();
    }));

  it('names the one that may be meant', () =>
    withTree({}, ({ master }) => {
      const text = (options: Loose): unknown => (refusal(() => master.ssh(options as never)) as Error).message;
      expect(text({ hostname: 'web1' })).toBe('ssh() has no option hostname; did you mean host?');
      expect(text({ host: 'web1', user: 'root' })).toBe('ssh() has no option user; did you mean username?');
      expect(text({ host: 'web1', hostKey: 'ignore' })).toBe('ssh() has no option hostKey; did you mean hostKeys?');
      expect(text({ host: 'web1', pasword: 'x' })).toBe('ssh() has no option pasword; did you mean password?');
      expect(text({ host: 'web1', indentityFlie: 'x' })).toBe('ssh() has no option indentityFlie; did you mean identityFile?');
      expect(text({ host: 'web1', reconnect: { maxAttemps: 5 } })).toBe('reconnect has no option maxAttemps; did you mean maxAttempts?');
      expect(text({ host: 'web1', runtime: { sha: 'x' } })).toBe('runtime has no option sha; did you mean sha256?');
      return Promise.resolve();
    }));

  it(
    'of a call is refused; so is one of listen() and attach()',
    withChild(async (kid, { master }) => {
      expect(refusal(() => kid.with({ chian: 'x' } as Loose))).toMatchObject(bad('with() has no option chian; did you mean chain?'));
      await expect(master.listen({ autority: 'none' } as Loose)).rejects.toMatchObject(bad('listen() has no option autority; did you mean authority?'));
      await expect(attach({ name: 'x', timeout: 5 } as Loose & { name: string })).rejects.toMatchObject(bad('attach() has no option timeout; did you mean timeoutMs?'));
      expect(await first(kid.with({ chain: 'x' }).call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'is refused in a child as well',
    withChild(async (kid) => {
      expect(await failure(kid.call(family.misspelt))).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining('local() has no option nodepath; did you mean nodePath?') as unknown });
    }),
  );

  it('is no matter when it is undefined', () =>
    withTree({ nothing: undefined } as Loose, async ({ master }) => {
      expect(await first(master.local({ nothing: undefined } as Loose).call(tasks.add, 1, 2))).toBe(3);
    }));
});
