import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Readable, Writable } from 'node:stream';
import os from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { seededRandom } from '../src/core/broker/seeded.ts';

const RUNS = 24;

describe('the link of a broker thread to its parent', () => {
  let directory = '';
  let program = '';

  beforeAll(() => {
    directory = mkdtempSync(join(os.tmpdir(), 'tendril-pipe-'));
    program = join(directory, 'broken-pipe.mjs');
    const esbuild = createRequire(import.meta.url).resolve('esbuild/bin/esbuild');
    execFileSync(esbuild, [fileURLToPath(new URL('./fixtures/broken-pipe.ts', import.meta.url)), '--bundle', '--platform=node', '--format=esm', `--outfile=${program}`, '--log-level=error']);
  });

  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it('is drained for all who wait for it, whenever the parent goes', async () => {
    for (let seed = 1; seed <= RUNS; seed++) {
      const random = seededRandom(seed);
      const child = spawn(process.execPath, [program, String(seed)], { stdio: ['ignore', 'pipe', 'inherit', 'pipe', 'pipe'], timeout: 20_000 });
      const [, out, , down, up] = child.stdio as unknown as [null, Readable, null, Writable, Readable];
      for (const stream of [down, up]) stream.on('error', () => undefined);
      const leave = (): void => {
        down.destroy();
        up.destroy();
      };
      // The parent goes when it has read so much, or when all is written: it may not read at all.
      let left = random() * 600_000;
      if (random() < 0.7) up.on('data', (chunk: Buffer) => { if ((left -= chunk.length) < 0) leave(); });
      out.once('data', leave);
      expect([seed, ...((await once(child, 'exit')) as unknown[])]).toEqual([seed, 0, null]);
      leave();
    }
  });
});
