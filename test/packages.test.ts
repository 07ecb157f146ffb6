import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { from, lastValueFrom, mergeMap, timeout, toArray } from 'rxjs';
import { Master } from 'tendril';
import type { ConnectedContext } from 'tendril';
import { MORE, TWENTY, WAYS, entry } from './packages/entries.mjs';
import type { Way } from './packages/entries.mjs';
import { nodesToTry, packagesOf } from './support/installed.ts';
import { counted, jailed } from './support/modules.ts';
import { watchForLeaks } from './support/tree.ts';

/** One package, loaded in one way. */
interface Load {
  readonly name: string;
  readonly way: Way;
}

/** What `check()` of checks.cjs gives. */
interface Checked {
  readonly exports: readonly string[];
  readonly value: unknown;
}

/** What its smoke call gave, or the code of its error. */
interface Outcome extends Load {
  readonly checked?: Checked;
  readonly code?: string;
  readonly message?: string;
}

interface Remote extends Outcome {
  readonly requests: number;
  readonly negatives: number;
}

/** What a package asks the master for by design, by its name or its name and way. */
const ASKS: Readonly<Record<string, { readonly why: string; readonly requests: number; readonly negatives?: number }>> = {
  jsdom: { why: 'reads a style sheet beside itself', requests: 1 },
  'source-map': { why: 'reads its wasm with fs', requests: 1 },
  'web-tree-sitter': { why: 'reads its wasm with fs', requests: 1 },
  yargs: { why: 'looks for a package.json, beside and above itself', requests: 3 },
  'prettier, require': { why: 'imports itself and its plugins when they are wanted', requests: 4 },
  'prettier, import': { why: 'imports its plugins when they are wanted', requests: 3 },
  mysql2: { why: 'hides the name of an optional package, which is absent, from all who scan it', requests: 1, negatives: 1 },
  'cbor-x': { why: 'looks for its native addon in many places', requests: 7, negatives: 3 },
  bcrypt: { why: 'looks for its native addon in many places', requests: 6, negatives: 2 },
  'better-sqlite3': { why: 'looks for its native addon in many places', requests: 16, negatives: 15 },
};

/** Codes of what cannot work in a child, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  // A native addon, which is not sent.
  bcrypt: 'ERR_TENDRIL_NATIVE_ADDON',
};

/** Longer than any check takes, also beside a full test run. */
const CHECK_MS = 30_000;
const SUITE_MS = 300_000;
/** Children of one Node at a time; each is busy for a moment on one core. */
const AT_A_TIME = 2;
/** Children among which the other packages of one Node are divided. */
const SHARED = 4;

const directory = packagesOf('packages');
const root = fileURLToPath(new URL('../', import.meta.url));
const loadsOf = (names: readonly string[]): Load[] => names.flatMap((name) => WAYS.map((way) => ({ name, way })));
const twenty = loadsOf(TWENTY);
const more = loadsOf(MORE);

(directory === undefined ? describe.skip : describe)('packages of npm in bare children', () => {
  const empty = mkdtempSync(join(tmpdir(), 'tendril-empty-'));
  let master: Master;

  watchForLeaks();

  beforeAll(() => {
    master = new Master({ logger: false });
    // Written here once, so that no two processes do it.
    for (const { name, way } of [...twenty, ...more]) entry(name, way);
  });

  afterAll(async () => {
    await master.shutdown();
    rmSync(empty, { recursive: true });
  });

  describe.each(nodesToTry())('$name ($version)', ({ path }) => {
    let local: ReadonlyMap<string, Outcome>;

    const start = (): ConnectedContext => master.local({ cwd: empty, nodePath: jailed(path, `${root}test/packages`, `${root}node_modules`) });

    const inFreshChild = async (load: Load): Promise<Remote> => {
      const child = start();
      try {
        return await run(master, child, load);
      } finally {
        await child.shutdown();
      }
    };

    beforeAll(async () => {
      local = await runLocally(path, [...twenty, ...more]);
    }, SUITE_MS);

    it('loads each of the twenty, in each way, in a child of its own', async () => {
      const remote = await lastValueFrom(from(twenty).pipe(mergeMap(inFreshChild, AT_A_TIME), toArray()));
      expect(table(remote, local)).toBe('');
    }, SUITE_MS);

    it('loads the others, in each way, many in one child', async () => {
      // What fails from the disk may take its process along.
      const sound = more.filter((load) => local.get(keyOf(load))?.code === undefined);
      const parts = Array.from({ length: SHARED }, (_, part) => sound.filter((__, index) => index % SHARED === part));
      const inOneChild = async (loads: readonly Load[]): Promise<Remote[]> => {
        const child = start();
        const outcomes: Remote[] = [];
        for (const load of loads) outcomes.push(await run(master, child, load));
        await child.shutdown();
        return outcomes;
      };
      const together = await lastValueFrom(from(parts).pipe(mergeMap(inOneChild, AT_A_TIME), toArray()));
      const alone = await lastValueFrom(from(more.filter((load) => !sound.includes(load))).pipe(mergeMap(inFreshChild, AT_A_TIME), toArray()));
      expect(table([...together.flat(), ...alone], local)).toBe('');
    }, SUITE_MS);
  });
});

const keyOf = ({ name, way }: Load): string => `${name}, ${way}`;

/** Loads a package in a child and makes its smoke call there. */
async function run(master: Master, child: ConnectedContext, load: Load): Promise<Remote> {
  const before = counted(master, child);
  const outcome = await new Promise<Outcome>((resolve) => {
    child.module<{ run(): Promise<Checked> }>(entry(load.name, load.way)).run().pipe(timeout(CHECK_MS)).subscribe({
      next: (checked) => {
        resolve({ ...load, checked });
      },
      error: (error: Error & { code?: string; remoteName?: string }) => {
        resolve({ ...load, code: error.code ?? error.remoteName ?? error.name, message: error.message });
      },
    });
  });
  const after = counted(master, child);
  return { ...outcome, requests: after.requests - before.requests, negatives: after.negatives - before.negatives };
}

/** The same loads and calls by plain Node from the disk, all in one process. */
async function runLocally(node: string, loads: readonly Load[]): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const env = { ...process.env, NODE_OPTIONS: undefined };
  const child = spawn(node, ['--no-warnings', fileURLToPath(new URL('packages/local.mjs', import.meta.url)), ...loads.flatMap(({ name, way }) => [name, way])], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const status = await new Promise((resolve) => child.on('close', resolve));
  if (status !== 0) throw new Error(`plain Node ended with ${String(status)}: ${complaint.slice(0, 2000)}`);
  for (const line of output.trim().split('\n')) {
    const outcome = JSON.parse(line) as Outcome;
    outcomes.set(keyOf(outcome), outcome);
  }
  return outcomes;
}

/** What is not as it must be: a line for each load, aligned. Empty when all is well. */
function table(remote: readonly Remote[], local: ReadonlyMap<string, Outcome>): string {
  const lines: string[] = [];
  for (const outcome of remote) {
    const faults = faultsOf(outcome, local.get(keyOf(outcome)));
    if (faults.length > 0) lines.push(`${keyOf(outcome).padEnd(28)} ${faults.join('; ')}`);
  }
  return lines.sort().join('\n');
}

function faultsOf({ name, way, checked, code, message, requests, negatives }: Remote, local: Outcome | undefined): string[] {
  const faults: string[] = [];
  const refused = REFUSED[name];
  if (refused !== undefined) {
    if (code !== refused) faults.push(`must fail with ${refused}, gave ${code ?? brief(checked?.value)}`);
  } else if (local?.checked === undefined) {
    // A package that does not work on this Node, or on this machine: what matters is that it fails here too.
    if (code === undefined) faults.push(`fails from the disk (${local?.code ?? 'not run'}), gave ${brief(checked?.value)}`);
  } else if (checked === undefined) faults.push(`${String(code)}: ${brief(message)}`);
  else {
    const [missing, extra] = [without(local.checked.exports, checked.exports), without(checked.exports, local.checked.exports)];
    if (missing.length > 0) faults.push(`lacks the exports ${brief(missing)}`);
    if (extra.length > 0) faults.push(`has too many exports, ${brief(extra)}`);
    if (JSON.stringify(checked.value) !== JSON.stringify(local.checked.value)) faults.push(`gave ${brief(checked.value)}, from the disk ${brief(local.checked.value)}`);
  }
  const asks = ASKS[keyOf({ name, way })] ?? ASKS[name];
  if (requests !== (asks?.requests ?? 0)) faults.push(`${String(requests)} requests instead of ${String(asks?.requests ?? 0)}`);
  if (negatives !== (asks?.negatives ?? 0)) faults.push(`${String(negatives)} negative answers instead of ${String(asks?.negatives ?? 0)}`);
  return faults;
}

const without = (all: readonly string[], some: readonly string[]): string[] => all.filter((each) => !some.includes(each));

const brief = (value: unknown): string => {
  const text = typeof value === 'string' ? value : ((JSON.stringify(value) as string | undefined) ?? 'undefined');
  return text.replaceAll('\n', ' ').slice(0, 240);
};
