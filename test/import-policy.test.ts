import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Master, UsageError } from 'tendril';
import type { ConnectedContext, ModuleOptions } from 'tendril';
import { remote, withFiles } from './support/application.ts';
import type { Files } from './support/application.ts';
import { moduleIds, tap } from './support/tap.ts';
import type { Tap } from './support/tap.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const GET_MODULE = 100;
const MARKER = 'THE-SOURCE-OF-WHAT-IS-REFUSED';

/** An application with packages whose names begin alike, and directories too. */
const APPLICATION: Files = {
  'package.json': '{"name":"app","imports":{"#internal":"./private/keys.cjs","#lodash":"lodash"}}',
  'main.cjs': `
    exports.ping = () => 'pong';
    exports.literal = () => require('lodash');
    exports.caught = () => { try { return require('lodash'); } catch (error) { return [error.code, error.message]; } };
    exports.imported = async () => (await import('lodash')).default;
    exports.subpath = () => require('lodash/fp.js');
    exports.neighbour = () => require('lodash-es');
    exports.scoped = () => require('@scope/a');
    exports.scopedNeighbour = () => require('@scope/ab');
    exports.relative = () => require('./private/keys.cjs');
    exports.relativeNeighbour = () => require('./private-not/keys.cjs');
    exports.internal = () => require('#internal');
    exports.alias = () => require('#lodash');
    exports.path = () => require(require('path').join(__dirname, 'node_modules/lodash/index.js'));
    exports.url = async () => (await import(require('url').pathToFileURL(require('path').join(__dirname, 'node_modules/lodash/index.js')).href)).default;
    exports.indirect = () => require('uses-lodash');
    exports.computed = (name) => require(name);
    exports.computedImport = async (name) => (await import(name)).default;
    exports.resolve = (name) => require.resolve(name);
    exports.builtin = () => typeof require('child_process').spawn;
    exports.bundled = () => require('bundles').inner;
    exports.linked = () => require('linked');
  `,
  'static.mjs': `import lodash from 'lodash'; export const run = () => lodash;`,
  'private/keys.cjs': `module.exports = 'keys'; // ${MARKER}`,
  'private-not/keys.cjs': `module.exports = 'other keys';`,
  'node_modules/lodash/package.json': '{"name":"lodash","version":"1.0.0"}',
  'node_modules/lodash/index.js': `module.exports = 'lodash'; // ${MARKER}`,
  'node_modules/lodash/fp.js': `module.exports = 'lodash/fp'; // ${MARKER}`,
  'node_modules/lodash-es/package.json': '{"name":"lodash-es"}',
  'node_modules/lodash-es/index.js': `module.exports = 'lodash-es';`,
  'node_modules/@scope/a/package.json': '{"name":"@scope/a"}',
  'node_modules/@scope/a/index.js': `module.exports = '@scope/a'; // ${MARKER}`,
  'node_modules/@scope/ab/package.json': '{"name":"@scope/ab"}',
  'node_modules/@scope/ab/index.js': `module.exports = '@scope/ab';`,
  'node_modules/uses-lodash/package.json': '{"name":"uses-lodash"}',
  'node_modules/uses-lodash/index.js': `try { module.exports = require('lodash'); } catch (error) { module.exports = 'without: ' + error.code; }`,
  'node_modules/bundles/package.json': '{"name":"bundles"}',
  'node_modules/bundles/index.js': `exports.inner = require('lodash');`,
  'node_modules/bundles/node_modules/lodash/package.json': '{"name":"lodash"}',
  'node_modules/bundles/node_modules/lodash/index.js': `module.exports = 'lodash inside'; // ${MARKER}`,
};

interface Guarded {
  readonly kid: ConnectedContext;
  readonly sent: Tap;
  readonly directory: string;
  ask(name: string, ...args: readonly unknown[]): Promise<unknown>;
  /** The error of a function that must fail, and how often the master was asked meanwhile. */
  refused(name: string, ...args: readonly unknown[]): Promise<{ code: string | undefined; message: string; requests: number }>;
}

function withPolicy(policy: ModuleOptions, test: (guarded: Guarded) => Promise<void>, files: Files = APPLICATION): Promise<void> {
  return withFiles({ ...files, 'link/keep': '' }, (directory) =>
    withTree({ modules: fill(policy, directory) }, async ({ master }) => {
      const sent = tap(join(directory, 'link'));
      const kid = master.local({ name: 'kid', nodePath: sent.nodePath });
      const main = join(directory, 'main.cjs');
      let requests = 0;
      const watch = (message: unknown): void => {
        const { srcId, handle } = message as { srcId: number; handle: number };
        if (srcId === kid.id && handle === GET_MODULE) requests++;
      };
      subscribe('tendril:io', watch);
      try {
        await test({
          kid,
          sent,
          directory,
          ask: (name, ...args) => first(remote(kid, main, name, ...args)),
          refused: async (name, ...args) => {
            const before = requests;
            const { code, message } = await failure(remote(kid, main, name, ...args));
            return { code, message, requests: requests - before };
          },
        });
      } finally {
        unsubscribe('tendril:io', watch);
      }
    }),
  );
}

/** Rules for paths are absolute. */
function fill(policy: ModuleOptions, directory: string): ModuleOptions {
  const absolute = (rules: readonly string[]): string[] => rules.map((rule) => rule.replace('APP', directory));
  return { ...policy, ...(policy.allow && { allow: absolute(policy.allow) }), ...(policy.deny && { deny: absolute(policy.deny) }) };
}

/** Names of the last files of what was sent. */
function sentFiles({ sent, directory }: Guarded): string[] {
  return sent.frames().flatMap(moduleIds).map((id) => id.slice(id.indexOf(directory) + directory.length + 1));
}

describe('modules.deny', () => {
  watchForLeaks();

  // A path may lead elsewhere by a link, so that the master has to be asked.
  it.each([['literal', 0], ['imported', 0], ['subpath', 0], ['alias', 0], ['path', 1], ['url', 1], ['bundled', 0]] as const)('stops %s, with the rule, by %d questions at most', (name, questions) =>
    withPolicy({ deny: ['lodash'] }, async (guarded) => {
      expect(await guarded.ask('ping')).toBe('pong');
      const { code, message, requests } = await guarded.refused(name);
      expect(code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(message).toContain('lodash');
      expect(message).toMatch(/deny|denies/);
      expect(requests).toBeLessThanOrEqual(questions);
      expect(sentFiles(guarded).filter((file) => /(?:^|\/)lodash\//.test(file))).toEqual([]);
    }),
  );

  it('stops computed names, by require and import', () =>
    withPolicy({ deny: ['lodash', '@scope/a'] }, async ({ refused, ask, sent }) => {
      for (const how of ['computed', 'computedImport']) {
        for (const name of ['lodash', 'lodash/fp.js', 'lodash/absent', '@scope/a', './node_modules/lodash/index.js', './node_modules/../node_modules/./lodash/index.js']) {
          const { code, message } = await refused(how, name);
          expect([how, name, code]).toEqual([how, name, 'ERR_TENDRIL_MODULE_REFUSED']);
          expect(message).toMatch(/deny|denies/);
        }
      }
      expect(await ask('computed', 'lodash-es')).toBe('lodash-es');
      expect(sent.bytes().includes(MARKER)).toBe(false);
    }));

  it('of a name is answered by the child itself', () =>
    withPolicy({ deny: ['lodash'] }, async ({ refused, ask }) => {
      expect(await ask('ping')).toBe('pong');
      for (const name of ['lodash', 'lodash/fp.js', 'lodash/x/y']) {
        for (const how of ['computed', 'computedImport']) expect(await refused(how, name)).toMatchObject({ code: 'ERR_TENDRIL_MODULE_REFUSED', requests: 0 });
      }
    }));

  it('ends a name where the name ends', () =>
    withPolicy({ deny: ['lodash', '@scope/a', 'APP/private'] }, async ({ ask, refused }) => {
      expect(await ask('neighbour')).toBe('lodash-es');
      expect(await ask('scopedNeighbour')).toBe('@scope/ab');
      expect(await ask('relativeNeighbour')).toBe('other keys');
      expect((await refused('scoped')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
    }));

  it.each(['relative', 'internal'])('of a path stops what lies below it (%s)', (name) =>
    withPolicy({ deny: ['APP/private'] }, async (guarded) => {
      const { code, message } = await guarded.refused(name);
      expect(code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(message).toContain('/private');
      expect((await guarded.refused('computed', './private/keys.cjs')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect((await guarded.refused('computed', './private-not/../private/keys.cjs')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(sentFiles(guarded).filter((file) => file.startsWith('private/'))).toEqual([]);
    }),
  );

  it('can be caught where the module is optional, in the application and in packages', () =>
    withPolicy({ deny: ['lodash'] }, async ({ ask }) => {
      const [code, message] = (await ask('caught')) as [string, string];
      expect(code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(message).toMatch(/deny|denies/);
      expect(await ask('indirect')).toBe('without: ERR_TENDRIL_MODULE_REFUSED');
    }));

  it('of what a module imports statically fails the call', () =>
    withPolicy({ deny: ['lodash'] }, async ({ kid, directory }) => {
      const error = await failure(remote(kid, join(directory, 'static.mjs'), 'run'));
      expect(error.code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(error.message).toMatch(/lodash/);
    }));

  it('of the module of a call fails the call, and nothing is sent', () =>
    withPolicy({ deny: ['APP'] }, async (guarded) => {
      expect((await guarded.refused('ping')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(sentFiles(guarded)).toEqual([]);
    }));

  it('does not name builtins', () =>
    withPolicy({ deny: ['child_process', 'node:child_process', 'APP/private'] }, async ({ ask }) => {
      // They are the child's own, and nothing that the master could keep from it.
      expect(await ask('builtin')).toBe('function');
    }));

  it('wins over allow', () =>
    withPolicy({ allow: ['APP', 'lodash'], deny: ['lodash'] }, async ({ ask, refused }) => {
      expect(await ask('ping')).toBe('pong');
      expect(await refused('literal')).toMatchObject({ code: 'ERR_TENDRIL_MODULE_REFUSED', message: expect.stringMatching(/deny|denies/) as unknown });
    }));

  it('also holds for the files of a package', () =>
    withPolicy({ deny: ['lodash'] }, async ({ ask, sent }) => {
      expect(await ask('peek', 'node_modules/lodash/index.js')).toBe('ENOENT');
      expect(await ask('peek', 'node_modules/lodash/package.json')).toBe('ENOENT');
      expect(sent.bytes().includes(MARKER)).toBe(false);
    }, { ...APPLICATION, 'main.cjs': `exports.peek = (name) => { try { return require('fs').readFileSync(require('path').join(__dirname, name), 'utf8'); } catch (error) { return error.code; } };` }));
});

describe('modules.allow', () => {
  watchForLeaks();

  it('admits its list and nothing else', () =>
    withPolicy({ allow: ['APP/main.cjs', 'lodash', '@scope/a'] }, async ({ ask, refused, sent, directory }) => {
      expect(await ask('literal')).toBe('lodash');
      expect(await ask('imported')).toBe('lodash');
      expect(await ask('subpath')).toBe('lodash/fp');
      expect(await ask('scoped')).toBe('@scope/a');
      expect(await ask('computed', 'lodash')).toBe('lodash');
      for (const name of ['neighbour', 'scopedNeighbour', 'relative', 'relativeNeighbour', 'internal', 'indirect']) {
        const { code, message, requests } = await refused(name);
        expect([name, code, requests]).toEqual([name, 'ERR_TENDRIL_MODULE_REFUSED', 0]);
        expect(message).toMatch(/allow/);
      }
      for (const name of ['lodash-es', '@scope/ab', './private/keys.cjs', './private-not/keys.cjs', 'uses-lodash']) {
        for (const how of ['computed', 'computedImport']) expect([how, name, (await refused(how, name)).code]).toEqual([how, name, 'ERR_TENDRIL_MODULE_REFUSED']);
      }
      const ids = sent.frames().flatMap(moduleIds).map((id) => id.slice(id.indexOf(directory) + directory.length));
      expect(ids.filter((id) => !/^\/main\.cjs$|^\/node_modules\/(?:lodash|@scope\/a)\//.test(id))).toEqual([]);
    }));

  it('that is empty admits nothing', () =>
    withPolicy({ allow: [] }, async ({ kid, refused, sent }) => {
      expect((await refused('ping')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
      expect(sent.frames().flatMap(moduleIds)).toEqual([]);
      // Builtins are the child's own.
      expect(typeof (await first(kid.call(process.cwd)))).toBe('string');
    }));

  it('of a directory admits what lies below it, and not what begins alike', () =>
    withPolicy({ allow: ['APP/main.cjs', 'APP/private'] }, async ({ ask, refused }) => {
      expect(await ask('relative')).toBe('keys');
      expect(await ask('internal')).toBe('keys');
      expect((await refused('relativeNeighbour')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
    }));

  it('of a directory with a slash at its end is the same', () =>
    withPolicy({ allow: ['APP/main.cjs', 'APP/private/'] }, async ({ ask, refused }) => {
      expect(await ask('relative')).toBe('keys');
      expect((await refused('relativeNeighbour')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
    }));

  it('of a scope admits its packages', () =>
    withPolicy({ allow: ['APP/main.cjs', '@scope'] }, async ({ ask, refused }) => {
      expect(await ask('scoped')).toBe('@scope/a');
      expect(await ask('scopedNeighbour')).toBe('@scope/ab');
      expect((await refused('literal')).code).toBe('ERR_TENDRIL_MODULE_REFUSED');
    }));

  it('still tells missing modules missing, as far as it admits them', () =>
    withPolicy({ allow: ['APP'] }, async ({ refused }) => {
      expect((await refused('computed', './absent.cjs')).code).toBe('MODULE_NOT_FOUND');
    }));
});

describe('modules.local', () => {
  watchForLeaks();

  // Elsewhere: Node looks in the directories above too.
  const OWN: Files = {
    'own/node_modules/lodash/package.json': '{"name":"lodash","version":"9.9.9"}',
    'own/node_modules/lodash/index.js': `module.exports = 'lodash of the child'; `,
    'own/node_modules/lodash/fp.js': `module.exports = 'lodash/fp of the child with ' + require('only-there');`,
    'own/node_modules/only-there/index.js': `module.exports = 'what only the child has';`,
    'own/node_modules/lodash-es/index.js': `module.exports = 'lodash-es of the child';`,
  };

  function withLocal(policy: ModuleOptions, cwd: string, test: (guarded: Pick<Guarded, 'ask' | 'refused' | 'sent'>) => Promise<void>): Promise<void> {
    return withFiles({ ...APPLICATION, 'link/keep': '' }, (directory) =>
      withFiles(OWN, (elsewhere) =>
        withTree({ modules: policy }, async ({ master }) => {
          const sent = tap(join(directory, 'link'));
          mkdirSync(join(elsewhere, cwd), { recursive: true });
          const kid = master.local({ nodePath: sent.nodePath, cwd: join(elsewhere, cwd) });
          const main = join(directory, 'main.cjs');
          await test({
            sent,
            ask: (name, ...args) => first(remote(kid, main, name, ...args)),
            refused: async (name, ...args) => ({ requests: 0, ...(await failure(remote(kid, main, name, ...args)).then(({ code, message }) => ({ code, message }))) }),
          });
        }),
      ),
    );
  }

  it("takes the child's own copy from its working directory, however it is asked for", () =>
    withLocal({ local: ['lodash'] }, 'own', async ({ ask, sent }) => {
      expect(await ask('literal')).toBe('lodash of the child');
      expect(await ask('imported')).toBe('lodash of the child');
      expect(await ask('subpath')).toBe('lodash/fp of the child with what only the child has');
      expect(await ask('computed', 'lodash')).toBe('lodash of the child');
      expect(await ask('computedImport', 'lodash')).toBe('lodash of the child');
      expect(await ask('indirect')).toBe('lodash of the child');
      // Others come from the master.
      expect(await ask('neighbour')).toBe('lodash-es');
      expect(sent.frames().flatMap(moduleIds).filter((id) => id.includes('/node_modules/lodash/') && !id.includes('/bundles/'))).toEqual([]);
    }));

  it('looks in the directories above the working directory, as Node does', () =>
    withLocal({ local: ['lodash'] }, 'own/deep/er', async ({ ask }) => {
      expect(await ask('literal')).toBe('lodash of the child');
    }));

  it('fails by the code of Node where the child has none, and takes nothing of the master', () =>
    withLocal({ local: ['@scope/a'] }, 'own', async ({ refused, sent }) => {
      expect((await refused('scoped')).code).toMatch(/MODULE_NOT_FOUND$/);
      expect((await refused('computed', '@scope/a')).code).toMatch(/MODULE_NOT_FOUND$/);
      expect(sent.bytes().includes(MARKER)).toBe(false);
    }));

  it('may name what the master lacks', () =>
    withLocal({ local: ['only-there'] }, 'own', async ({ ask }) => {
      expect(await ask('computed', 'only-there')).toBe('what only the child has');
      expect(await ask('computedImport', 'only-there')).toBe('what only the child has');
    }));

  it('gives one instance for all who want it', () =>
    withFiles({ 'main.cjs': `exports.run = async () => [require('counted') === (await import('counted')).default, require('counted') === require('other'), require('counted').loads];`, 'node_modules/other/index.js': `module.exports = require('counted');`, 'own/node_modules/counted/index.js': `globalThis.loads = (globalThis.loads ?? 0) + 1; exports.loads = globalThis.loads;` }, (directory) =>
      withTree({ modules: { local: ['counted'] } }, async ({ master }) => {
        const kid = master.local({ cwd: join(directory, 'own') });
        expect(await first(remote(kid, join(directory, 'main.cjs'), 'run'))).toEqual([true, true, 1]);
      }),
    ));

  it('does not end the name where the name does not end', () =>
    withLocal({ local: ['lodash'] }, 'own', async ({ ask }) => {
      expect(await ask('computed', 'lodash-es')).toBe('lodash-es');
    }));
});

describe('options of modules that cannot work', () => {
  it.each<[what: string, policy: unknown, name: string]>([
    ['allow that is no list', { allow: 'lodash' }, 'allow'],
    ['deny with something else than texts', { deny: ['lodash', 7] }, 'deny'],
    ['an empty rule', { deny: [''] }, 'deny'],
    ['local that is no list', { local: true }, 'local'],
    ['assets that is a text', { assets: 'no' }, 'assets'],
  ])('%s is refused with the name of the option', (_what, policy, name) => {
    const make = (): Master => new Master({ modules: policy as ModuleOptions, logger: false });
    expect(make).toThrow(UsageError);
    expect(make).toThrow(new RegExp(`modules\\.${name}`));
  });
});
