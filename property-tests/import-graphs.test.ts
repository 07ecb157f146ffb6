import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Master } from 'tendril';
import type { ConnectedContext } from 'tendril';
import { inPlainNode, remote, withFiles, writeFiles } from '../test/support/application.ts';
import { moduleIds, tap } from '../test/support/tap.ts';
import type { Tap } from '../test/support/tap.ts';
import { first, watchForLeaks, withTree } from '../test/support/tree.ts';
import { Oracle, differences, drafts, planGraph, printed } from './graph-support.ts';
import type { Evaluation } from './graph-support.ts';
import { checkAsync } from './support.ts';

/** Counts the messages of a context for a handle that pass through this process. */
function countMessages(srcId: number, handle: number): { readonly count: () => number; readonly end: () => void } {
  let seen = 0;
  const watch = (message: unknown): void => {
    const { srcId: from, handle: to } = message as { srcId: number; handle: number };
    if (from === srcId && to === handle) seen++;
  };
  subscribe('tendril:io', watch);
  return {
    count: () => seen,
    end: () => {
      unsubscribe('tendril:io', watch);
    },
  };
}

/** Graphs that one child evaluates before a fresh one takes its place. */
const GRAPHS_PER_CHILD = 25;

interface Subject {
  readonly kid: ConnectedContext;
  readonly sent: Tap;
}

// A child has nothing of the application on its disk, and what it makes of a graph of modules is what Node makes of it where
// they lie: the same modules, in the same order, once each, with the same values and the same errors.
describe('graphs of modules', () => {
  let oracle: Oracle;
  beforeAll(() => {
    oracle = new Oracle();
  });
  afterAll(() => oracle.end());

  it(
    'are evaluated in a child as in a plain Node, and each module is sent once',
    () =>
      withFiles({}, async (directory) => {
        const master = new Master({ logger: false });
        let subject: Subject | undefined;
        let graphs = 0;
        const fresh = (): Subject => {
          const sent = tap(directory, `tap${String(graphs)}`);
          return { kid: master.local({ nodePath: sent.nodePath }), sent };
        };
        const evaluate = async (main: string): Promise<Evaluation> => {
          subject ??= fresh();
          try {
            return await first(remote<Evaluation>(subject.kid, main, 'run'));
          } catch (error) {
            // It may hang, or be gone.
            await subject.kid.shutdown();
            subject = undefined;
            const { message, remoteStack } = error as { message: string; remoteStack?: string };
            return { log: [], outcome: `the call failed: ${message}\n${remoteStack ?? ''}` };
          }
        };
        try {
          await checkAsync(
            fc.asyncProperty(drafts, async (draft) => {
              const number = String(graphs++);
              const graph = planGraph(draft, `graph ${number}`);
              writeFiles(join(directory, number), graph.files);
              const main = join(directory, number, 'main.mjs');
              if (graphs % GRAPHS_PER_CHILD === 0) {
                await subject?.kid.shutdown();
                subject = undefined;
              }
              subject ??= fresh();
              const requests = countMessages(subject.kid.id, 100);
              const { sent } = subject;
              const [expected, actual] = [await oracle.run(main), await evaluate(main)];
              requests.end();
              if (expected === undefined) return;
              const found = differences(graph, expected, actual);
              const ids = sent.frames().flatMap(moduleIds);
              for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`${id} was sent more than once`);
              if (requests.count() > graph.questions) found.push(`the child asked ${String(requests.count())} times, where ${String(graph.questions)} would do`);
              if (found.length > 0) throw new Error(`${found.join('\n')}\n${printed(graph)}`);
            }),
            150,
          );
        } finally {
          await master.shutdown();
        }
      }),
    600_000,
  );

  // What the graphs above leave out: Node refuses it, and says so by a code.
  describe('that Node refuses', () => {
    watchForLeaks();

    const refused: readonly (readonly [what: string, files: Readonly<Record<string, string>>])[] = [
      ['require of an ES module that waits', { 'main.cjs': `exports.run = () => require('./waits.mjs');`, 'waits.mjs': 'await null; export default 1;' }],
      ['require of an ES module whose import waits', { 'main.cjs': `exports.run = () => require('./outer.mjs');`, 'outer.mjs': `export * from './waits.mjs';`, 'waits.mjs': 'await null; export const a = 1;' }],
      ['require of an ES module that leads back', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import './b.cjs';`, 'b.cjs': `require('./a.mjs');` }],
      ['an import of a name that is not exported', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import { nothing } from './b.mjs';`, 'b.mjs': 'export const a = 1;' }],
      ['an import of a name that two stars give', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import { a } from './b.mjs';`, 'b.mjs': `export * from './c.mjs'; export * from './d.mjs';`, 'c.mjs': 'export const a = 1;', 'd.mjs': 'export const a = 2;' }],
      ['an import of a name that goes in a circle', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `export { a } from './b.mjs';`, 'b.mjs': `export { a } from './a.mjs';` }],
      ['an import of JSON without its attribute', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import data from './data.json';`, 'data.json': '{}' }],
      ['an import of JavaScript as JSON', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import data from './b.mjs' with { type: 'json' };`, 'b.mjs': 'export default 1;' }],
      ['a static import of what is not there', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import './absent.mjs';` }],
      ['a directory that is imported', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import './b';`, 'b/index.js': '' }],
      ['an import without its extension', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import './b';`, 'b.js': '' }],
      ['a circle whose first module fails late', { 'main.cjs': `exports.run = () => import('./a.mjs').catch(() => import('./b.mjs'));`, 'a.mjs': `import './b.mjs'; await null; throw new TypeError('late');`, 'b.mjs': `import './a.mjs'; export default 1;` }],
      ['a circle of which one fails while another waits to begin', { 'main.cjs': `exports.run = async () => { globalThis.ran = 'only: '; await import('./a.mjs').catch(() => undefined); await new Promise(setImmediate); throw Object.assign(new Error('over'), { code: ran }); };`, 'a.mjs': `import './b.mjs'; import './fails.mjs'; ran += 'a ';`, 'b.mjs': `import './a.mjs'; import './waits.mjs'; ran += 'b ';`, 'waits.mjs': `await null; ran += 'waits ';`, 'fails.mjs': `throw new Error('fails');` }],
      ['a circle of which one fails while another waits', { 'main.cjs': `exports.run = async () => { await import('./a.mjs').catch(() => undefined); await new Promise(setImmediate); await import('./b.mjs'); };`, 'a.mjs': `import './b.mjs'; import './fails.mjs';`, 'b.mjs': `import './a.mjs'; await null;`, 'fails.mjs': `throw new RangeError('fails');` }],
      ['assignment to an import', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import { b } from './b.mjs'; b = 2;`, 'b.mjs': 'export let b = 1;' }],
      ['a read before the declaration', { 'main.cjs': `exports.run = () => import('./a.mjs');`, 'a.mjs': `import './b.mjs'; export const a = 1;`, 'b.mjs': `import { a } from './a.mjs'; export const b = a;` }],
    ];

    it.each(refused)('%s', (_what, files) =>
      withFiles(files, (directory) =>
        withTree({}, async ({ master }) => {
          const main = join(directory, 'main.cjs');
          const { error: expected } = await inPlainNode(main, 'run');
          expect(expected).toBeDefined();
          const error = await first(remote(master.local(), main, 'run')).then(() => undefined, (thrown: unknown) => thrown as { remoteName: string; code: string });
          expect({ name: error?.remoteName, code: error?.code }).toEqual({ name: expected?.name, code: expected?.code ?? 'ERR_TENDRIL_CALL' });
        }),
      ),
    );
  });
});
