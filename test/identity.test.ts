import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Master } from 'tendril';
import type { InstalledNode } from './support/installed.ts';
import { nodesToTry } from './support/installed.ts';
import { layOutIdentityApp } from './support/identity-app.ts';
import { jailed } from './support/modules.ts';
import { first, watchForLeaks } from './support/tree.ts';

/** What each check of the suite gave. */
type Results = Readonly<Record<string, unknown>>;

/** Where the modules of the master seem to lie in a child. */
const VIRTUAL_ROOT = '/dev/null/tendril';

/** A difference that is meant to be: what a child gives instead, and why. */
interface Difference {
  readonly why: string;
  readonly child: (directory: string, local: unknown) => unknown;
  /** Versions of Node that it is limited to; default all. */
  readonly on?: (node: InstalledNode) => boolean;
}

const majorMinor = ({ version }: InstalledNode): number => Number(/^v(\d+\.\d+)/.exec(version)?.[1]);

/** The Nodes whose own loader cannot be given modules synchronously. */
const isRendered = (node: InstalledNode): boolean => majorMinor(node) < 22.15;

/** A list with other items at some places. */
const replaced = (local: unknown, items: Readonly<Record<number, unknown>>): unknown => (local as unknown[]).map((item, index) => (index in items ? items[index] : item));

const NO_CALLBACK = { threw: 'ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING', message: '' };

const DIFFERENCES: Readonly<Record<string, Difference>> = {
  'a native addon': {
    why: 'Machine code of one machine is not sent to another.',
    child: () => 'ERR_TENDRIL_NATIVE_ADDON',
  },
  'stack lines of TypeScript': {
    why: 'The master takes the types out, so a child need not be able to.',
    child: (directory) => [`file://${directory}/esm/thrower.ts:9:9`, 'typed'],
    on: (node) => majorMinor(node) < 22.18,
  },
  'a namespace': {
    why: 'Exports of a rendered module are accessors, so that they are live; such an object counts as frozen.',
    child: (_directory, local) => replaced(local, { 2: true, 4: null }),
    on: isRendered,
  },
  'import() in code that is made at run time': {
    why: 'Node 20 has no hook there that would not read the disk of the child.',
    child: (_directory, local) => replaced(local, { 0: NO_CALLBACK, 1: NO_CALLBACK }),
    on: isRendered,
  },
  'eval in a module': {
    why: 'The same, for import() in it.',
    child: (_directory, local) => replaced(local, { 1: NO_CALLBACK }),
    on: isRendered,
  },
};

const SUITE_MS = 60_000;

describe('what modules see, in a child and from the disk', () => {
  const app = layOutIdentityApp();
  let master: Master;

  watchForLeaks();

  beforeAll(() => {
    master = new Master({ logger: false });
  });

  afterAll(async () => {
    await master.shutdown();
    app.remove();
  });

  it.each(nodesToTry())('is the same on $name ($version)', async (node) => {
    const { stdout } = await promisify(execFile)(node.path, ['--no-warnings', app.runner, app.suite.href], { env: { ...process.env, NODE_OPTIONS: undefined }, maxBuffer: 1 << 24 });
    const local = JSON.parse(stdout) as Results;
    const child = master.local({ nodePath: jailed(node.path, app.directory), cwd: '/' });
    let remote: Results;
    try {
      remote = await first(child.module<{ run(): Promise<Results> }>(app.suite).run());
    } finally {
      await child.shutdown();
    }
    expect(Object.keys(remote)).toEqual(Object.keys(local));
    expect(Object.keys(local).length).toBeGreaterThan(60);
    expect(table(local, remote, node, app.directory)).toBe('');
  }, SUITE_MS);
});

/** A block of lines for each check whose result is not as it must be. */
function table(local: Results, remote: Results, node: InstalledNode, directory: string): string {
  const faults: string[] = [];
  for (const [name, value] of Object.entries(local)) {
    const difference = DIFFERENCES[name];
    const known = difference !== undefined && (difference.on?.(node) ?? true);
    const lines = differences(name, known ? difference.child(directory, value) : value, remote[name]);
    if (lines.length > 0) faults.push(...lines);
    else if (known && text(remote[name]) === text(value)) faults.push(`${name}\n  is no difference any more: ${difference.why}`);
  }
  return faults.join('\n').replaceAll(directory, '<app>');
}

/** For lists of the same length, the items that differ. */
function differences(name: string, expected: unknown, got: unknown): string[] {
  if (text(got) === text(expected)) return [];
  if (Array.isArray(expected) && Array.isArray(got) && expected.length === got.length) return expected.flatMap((item: unknown, index) => differences(`${name} [${String(index)}]`, item, got[index]));
  return [`${name}\n  local ${text(expected)}\n  child ${isThrown(got) ? JSON.stringify(got) : text(got)}`];
}

/** As JSON, with files where they lie at the master. Of what was thrown only the code counts; some checks look at texts. */
function text(value: unknown): string {
  const json = JSON.stringify(value, (_key, part: unknown) => (isThrown(part) ? { threw: part.threw } : part)) as string | undefined;
  return (json ?? 'null').replaceAll(VIRTUAL_ROOT, '');
}

function isThrown(value: unknown): value is { threw: string } {
  return typeof value === 'object' && value !== null && 'threw' in value && 'message' in value;
}
