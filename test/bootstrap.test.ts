import { spawn } from 'node:child_process';
import type { StdioOptions } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { ConnectError, Master, UsageError } from 'tendril';
import { FIRST_STAGE, firstStage, safeTitle } from '../src/parent/bootstrap/first-stage.ts';
import { compressedCore } from '../src/parent/bootstrap/payload.ts';
import * as tasks from './fixtures/tasks.ts';
import { nodesToTry } from './support/installed.ts';
import { failure, first, startedProcesses, watchForLeaks, withChild, withTree } from './support/tree.ts';

/** A program that stands in for Node: a shell script. */
async function withFakeNode(script: string, test: (nodePath: readonly string[]) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-fake-'));
  try {
    writeFileSync(join(directory, 'node'), script);
    await test(['sh', join(directory, 'node')]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Starts the first stage by itself. `behind` is a command line for sh that gives it its descriptors, instead of ours. */
function startFirstStage(behind?: string): { toChild: Writable; ended: Promise<{ received: string; complaint: string; code: number | null }> } {
  const argv = [process.execPath, '-e', FIRST_STAGE, 'tendril:bare'];
  const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'];
  // Not the default of spawn(): what watches for leaks has its mark in this one.
  const { env } = process;
  const child = behind === undefined ? spawn(argv[0]!, argv.slice(1), { stdio, env }) : spawn('sh', ['-c', behind, 'sh', ...argv], { stdio, env });
  const [toChild, fromChild] = [child.stdio[3] as Writable, child.stdio[4] as Readable];
  let received = '';
  let complaint = '';
  fromChild.on('data', (bytes: Buffer) => (received += bytes.toString()));
  child.stderr!.on('data', (bytes: Buffer) => (complaint += bytes.toString()));
  toChild.on('error', () => undefined);
  return { toChild, ended: new Promise((resolve) => child.on('close', (code) => { resolve({ received, complaint, code }); })) };
}

/** A block of what the first stage reads. */
function block(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

describe('first stage', () => {
  watchForLeaks();

  it('is short and survives every quoting', () => {
    expect(FIRST_STAGE).not.toMatch(/['"`$\\!\n]/);
    const { shellLine, argv } = firstStage('tendril:web1');
    expect(shellLine.length).toBeLessThan(600);
    expect(argv.join(' ').length).toBeLessThan(600);
    // The marker is computed, so an echo of the command is not taken for it.
    expect(shellLine).not.toContain('EC0');
  });

  it('refuses words that no quoting survives, and makes titles safe (REFERENCE 128)', () => {
    expect(() => firstStage('it$title')).toThrow(UsageError);
    expect(() => firstStage('ok', "no'de")).toThrow(UsageError);
    expect(() => firstStage(safeTitle('-a "b" $c `d` \\ !\n'))).not.toThrow();
    expect(safeTitle(String.raw`tendril:a\b/c (from me@host:1)`)).toBe('tendril:a_b/c (from me@host:1)');
    expect(firstStage('t', ['/usr/bin/env', 'node']).argv[2]).toContain('exec /usr/bin/env node -e');
  });

  it('the core is within its budget of 40 KiB', () => {
    expect(compressedCore().length).toBeLessThanOrEqual(40 * 1024);
  });

  // Node's own pipes are non-blocking sockets; between two programs of a shell there is a pipe, which blocks.
  it.each([
    ['non-blocking', undefined],
    ['blocking', 'cat <&3 | "$@" 3<&0'],
  ])('boots when its input is %s and comes in many short pieces (REFERENCE 141)', async (_kind, behind) => {
    const core = deflateRawSync(Buffer.from("(function(require,core){fs.writeSync(4,'EC1;'+core.length);process.exit(0)})"));
    const { toChild, ended } = startFirstStage(behind);
    for (const byte of Buffer.concat([block(core), block(Buffer.alloc(0))])) {
      toChild.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    toChild.end();
    expect(await ended).toEqual({ received: `EC0 ${process.version};EC1;${String(core.length)}`, complaint: '', code: 0 });
  });

  it.each([
    ['non-blocking', undefined],
    ['blocking', 'cat <&3 | "$@" 3<&0'],
  ])('ends at once when its input, which is %s, ends in the middle of the core (REFERENCE 142)', async (_kind, behind) => {
    const { toChild, ended } = startFirstStage(behind);
    const core = block(compressedCore());
    toChild.end(core.subarray(0, core.length / 2));
    expect(await ended).toEqual({ received: `EC0 ${process.version};`, complaint: '', code: 1 });
  });

  it('that is fed junk says what is wrong with it, and gets no further than its first marker (REFERENCE 144)', async () => {
    const { toChild, ended } = startFirstStage();
    toChild.write(Buffer.concat([block(Buffer.alloc(1000)), block(Buffer.alloc(0))]));
    const { received, complaint, code } = await ended;
    expect(received).toBe(`EC0 ${process.version};`);
    expect(complaint).toMatch(/Z_DATA_ERROR/);
    expect(code).toBe(1);
  });
});

describe('a local child', () => {
  watchForLeaks();

  it('has its name as title, and the long argument is gone from ps', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local({ name: 'web/1' });
      const { pid, title, execArgv, url } = await first(kid.call(tasks.whereAmI));
      expect(title).toMatch(/^tendril:web\/1 \(from .*:\d+\)$/);
      expect(readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').replace(/\0+$/, '')).toBe(title);
      expect(execArgv).toEqual([]);
      expect(url).toMatch(/^file:\/\/\/dev\/null\/tendril\//);
      const masked = master.local({ title: 'innocuous' });
      expect((await first(masked.call(tasks.whereAmI))).title).toBe('innocuous');
    }));

  it('has nothing to read, its output apart from its errors, and the protocol on descriptors of its own (REFERENCE 147, 149)', () =>
    withTree({}, async ({ master, logged }) => {
      const kid = master.local();
      await first(kid.call(tasks.subprocess, 'cd /proc/$PPID/fd; echo "fds $(readlink 0) $(for fd in 1 2 3 4; do readlink $fd; done | sort -u | grep -c socket:)"; echo complaint >&2'));
      expect(await logged(({ message }) => message.startsWith('fds'))).toMatchObject({ message: 'fds /dev/null 4', stream: 'stdout' });
      expect(await logged(({ message }) => message === 'complaint')).toMatchObject({ stream: 'stderr' });
    }));

  it('gives its subprocesses neither the protocol nor its input', () =>
    withTree({}, async ({ master, logged }) => {
      const kid = master.local();
      await first(kid.call(tasks.subprocess, 'echo fds $(ls /proc/self/fd | tr "\\n" " ")'));
      const { message } = await logged((record) => record.message.startsWith('fds'));
      // 3 is the directory that `ls` reads; ours would be 3 and 4.
      expect(message.trim()).toMatch(/^fds 0 1 2 (?!4)/);
      expect(message.split(' ')).not.toContain('4');
    }));

  it('needs nothing on its disk: works where everything but Node is missing', () =>
    withTree({}, async ({ master }) => {
      const directory = mkdtempSync(join(tmpdir(), 'tendril-empty-'));
      try {
        const kid = master.local({ cwd: directory, env: { HOME: '/nonexistent', PATH: '/nonexistent' } });
        expect(await first(kid.call(tasks.greet, 'you'))).toBe('hello you');
        await kid.shutdown();
        expect(readdirSync(directory)).toEqual([]);
      } finally {
        rmSync(directory, { recursive: true });
      }
    }));

  it('can be the child of a wrapper, and its own children run the same Node (REFERENCE 146)', () =>
    withTree({}, async ({ master }) => {
      const nodePath = nodesToTry().at(-1)!.path;
      const [plain, wrapped] = [master.local({ nodePath }), master.local({ nodePath: ['/usr/bin/env', 'MARKED=yes', nodePath] })];
      expect(await first(wrapped.call(tasks.add, 1, 2))).toBe(3);
      const [below, belowWrapped] = [master.local({ via: plain }), master.local({ via: wrapped })];
      await Promise.all([below, belowWrapped].map((kid) => first(kid.connected)));
      expect([below.nodeVersion, belowWrapped.nodeVersion]).toEqual([plain.nodeVersion, plain.nodeVersion]);
    }));

  it('that is the second of many gets its own name and ID (REFERENCE 146)', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local(), master.local()];
      await Promise.all([first(a.connected), first(b.connected)]);
      expect([a.id, b.id]).toEqual([1, 2]);
      expect([a.name, b.name]).toEqual([1, 2].map((id) => `local.${String(process.pid)}.${String(id)}`));
      expect(a.nodeVersion).toBe(process.version);
    }));

  it.each([
    ['a missing Node', '/nonexistent/node', 'ERR_TENDRIL_NODE_MISSING'],
    ['a file that is no program', '/etc/passwd', 'ERR_TENDRIL_PERMISSION_DENIED'],
  ])('fails with one typed error for %s, for the context and its calls', (_what, nodePath, code) =>
    withTree({}, async ({ master }) => {
      const kid = master.local({ nodePath });
      const call = failure(kid.call(tasks.add, 1, 2));
      const error = await failure(kid.connected);
      expect(error).toBeInstanceOf(ConnectError);
      expect(error.code).toBe(code);
      expect(await call).toBe(error);
      expect(await failure(kid.call(tasks.add, 1, 2))).toBe(error);
      expect(await first(kid.closed)).toMatchObject({ reason: 'failed', error });
    }),
  );

  it.each([
    ['too old', 'printf "EC0 v12.22.1;" >&4; cat <&3 >/dev/null', 'ERR_TENDRIL_NODE_TOO_OLD', /v12\.22\.1/],
    ['gone, with its last words', 'echo "disk on fire" >&2; exit 3', 'ERR_TENDRIL_CONNECT_EOF', /disk on fire/],
    ['not found', 'echo "sh: 1: exec: node: not found" >&2; exit 127', 'ERR_TENDRIL_NODE_MISSING', /Node/],
    ['a flood of noise', 'head -c 200000 /dev/zero | tr "\\0" x >&4; cat <&3 >/dev/null', 'ERR_TENDRIL_CONNECT_EOF', /before the first stage/],
    ['a flood after the first marker', 'printf "EC0 v20.19.0;" >&4; head -c 200000 /dev/zero | tr "\\0" x >&4; cat <&3 >/dev/null', 'ERR_TENDRIL_CONNECT_EOF', /before the core answered/],
    ['silent', 'cat <&3 >/dev/null', 'ERR_TENDRIL_CONNECT_TIMEOUT', /first stage did not answer within 300 ms/],
    ['silent after the first marker', 'printf "EC0 v20.19.0;" >&4; cat <&3 >/dev/null', 'ERR_TENDRIL_CONNECT_TIMEOUT', /core did not start/],
    ['never given what it waits for', `tail -f /dev/null | ${process.execPath} "$@" 3<&0`, 'ERR_TENDRIL_CONNECT_TIMEOUT', /core did not start|first stage did not answer/],
  ])('whose Node is %s fails with the reason and the last output (REFERENCE 130, 142, 143)', (_what, script, code, text) =>
    withFakeNode(script, (nodePath) =>
      withTree({ graceMs: 100 }, async ({ master }) => {
        const kid = master.local({ nodePath, bootTimeoutMs: code.endsWith('TIMEOUT') ? 300 : 20_000 });
        const error = await failure(kid.connected);
        expect(error).toBeInstanceOf(ConnectError);
        expect(error.code).toBe(code);
        expect(error.message + (error as ConnectError).output).toMatch(text);
        await first(kid.closed);
        expect(startedProcesses()).toEqual([]);
      }),
    ),
  );

  it('finds the marker behind a banner without a newline', () =>
    withFakeNode(`printf 'Welcome! Type EC0 to start; no, do not. ' >&4; exec ${process.execPath} "$@"`, (nodePath) =>
      withTree({}, async ({ master }) => {
        expect(await first(master.local({ nodePath }).call(tasks.add, 1, 2))).toBe(3);
      }),
    ));

  it('a peer that announces a message over the limit, as garbage does, is disconnected with a typed error; others are not (REFERENCE 154)', () =>
    withFakeNode(`printf 'EC0 v20.19.0;EC1;\\0\\0\\0\\1\\0\\0\\0\\144\\0\\0\\0\\0\\377\\377\\377\\377' >&4; cat <&3 >/dev/null`, (nodePath) =>
      withTree({ graceMs: 100 }, async ({ master }) => {
        const honest = master.local();
        const hostile = master.local({ nodePath });
        expect(await first(hostile.closed)).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_MESSAGE_TOO_LARGE' } });
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
      }),
    ));

  it('a peer that forges its source, floods garbage or speaks for others is not believed (REFERENCE 7)', () =>
    // Header: dst 0, src 7 (not the child's), handle 102 (FORWARD_LOG); then src 1 with a payload that is no CBOR.
    withFakeNode(`printf 'EC0 v20.19.0;EC1;\\0\\0\\0\\7\\0\\0\\0\\146\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\146\\0\\0\\0\\0\\0\\0\\0\\1\\377' >&4; cat <&3 >/dev/null`, (nodePath) =>
      withTree({ graceMs: 100 }, async ({ master, logged }) => {
        const hostile = master.local({ nodePath, name: 'hostile' });
        await first(hostile.connected);
        expect((await logged(({ message }) => message.includes('bad src_id'))).level).toBe('warn');
        expect((await logged(({ message }) => message.includes('not valid'))).message).toContain('hostile');
      }),
    ));

  it(
    'inherits maxMessageSize (REFERENCE 17, 19)',
    withChild(
      async (kid) => {
        expect(await failure(kid.call(tasks.sumBytes, new Uint8Array(100_000)))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'too-large' });
        expect(await first(kid.call(tasks.sumBytes, new Uint8Array(10_000).fill(1)))).toBe(10_000);
        // The child holds the same limit for what it sends.
        expect(await failure(kid.call(tasks.flood, 1, 100_000))).toMatchObject({ reason: 'too-large' });
        expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      },
      { maxMessageSize: 65_536 },
    ),
  );

  it('gives its CPU profile when it is asked to', () =>
    withTree({}, async ({ master }) => {
      const profiles: string[] = [];
      const kid = master.local({ onProfile: (profile) => profiles.push(profile) });
      await first(kid.call(tasks.spinFor, 20, 1, 'busy'));
      await kid.shutdown();
      expect(profiles).toHaveLength(1);
      const { nodes } = JSON.parse(profiles[0] ?? '') as { nodes: { callFrame: { functionName: string } }[] };
      expect(nodes.map(({ callFrame }) => callFrame.functionName)).toContain('spinFor');
    }));

  it('options that cannot work are refused with the name of the option', () => {
    expect(() => new Master({ maxMessageSize: -1 })).toThrow(/maxMessageSize must be/);
    expect(() => new Master({ logLevel: 'loud' as 'info' })).toThrow(/logLevel must be one of error/);
    expect(() => new Master({ graceMs: Number.NaN })).toThrow(/graceMs/);
  });
});
