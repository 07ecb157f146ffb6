import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { ConnectError, Master, UsageError } from 'tendril';
import { FIRST_STAGE, firstStage, safeTitle } from '../src/parent/bootstrap/first-stage.ts';
import { compressedCore } from '../src/parent/bootstrap/payload.ts';
import * as tasks from './fixtures/tasks.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

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

describe('first stage', () => {
  it('is short and survives every quoting', () => {
    expect(FIRST_STAGE).not.toMatch(/['"`$\\!\n]/);
    const { shellLine, argv } = firstStage('tendril:web1');
    expect(shellLine.length).toBeLessThan(600);
    expect(argv.join(' ').length).toBeLessThan(600);
    // The marker is computed, so an echo of the command is not taken for it.
    expect(shellLine).not.toContain('EC0');
  });

  it('refuses words that no quoting survives, and makes titles safe', () => {
    expect(() => firstStage('it$title')).toThrow(UsageError);
    expect(() => firstStage('ok', "no'de")).toThrow(UsageError);
    expect(() => firstStage(safeTitle('-a "b" $c `d` \\ !\n'))).not.toThrow();
    expect(firstStage('t', ['/usr/bin/env', 'node']).argv[2]).toContain('exec /usr/bin/env node -e');
  });

  it('the core is within its budget of 40 KiB', () => {
    expect(compressedCore().length).toBeLessThanOrEqual(40 * 1024);
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

  it('can be the child of a wrapper (REFERENCE 146)', () =>
    withTree({}, async ({ master }) => {
      const kid = master.local({ nodePath: ['/usr/bin/env', 'MARKED=yes', process.execPath] });
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }));

  it('that is the second of many gets its own name and ID (REFERENCE 128, 153)', () =>
    withTree({}, async ({ master }) => {
      const [a, b] = [master.local(), master.local()];
      await Promise.all([first(a.connected), first(b.connected)]);
      expect([a.id, b.id]).toEqual([1, 2]);
      expect(a.name).not.toBe(b.name);
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
  ])('whose Node is %s fails with the reason and the last output (REFERENCE 130, 142, 143)', (_what, script, code, text) =>
    withFakeNode(script, (nodePath) =>
      withTree({ graceMs: 100 }, async ({ master }) => {
        const error = await failure(master.local({ nodePath, bootTimeoutMs: code.endsWith('TIMEOUT') ? 300 : 20_000 }).connected);
        expect(error).toBeInstanceOf(ConnectError);
        expect(error.code).toBe(code);
        expect(error.message + (error as ConnectError).output).toMatch(text);
      }),
    ),
  );

  it('finds the marker behind a banner without a newline', () =>
    withFakeNode(`printf 'Welcome! Type EC0 to start; no, do not. ' >&4; exec ${process.execPath} "$@"`, (nodePath) =>
      withTree({}, async ({ master }) => {
        expect(await first(master.local({ nodePath }).call(tasks.add, 1, 2))).toBe(3);
      }),
    ));

  it('a peer that announces a message over the limit is disconnected with a typed error; others are not', () =>
    withFakeNode(`printf 'EC0 v20.19.0;EC1;\\0\\0\\0\\1\\0\\0\\0\\144\\0\\0\\0\\0\\377\\377\\377\\377' >&4; cat <&3 >/dev/null`, (nodePath) =>
      withTree({ graceMs: 100 }, async ({ master }) => {
        const honest = master.local();
        const hostile = master.local({ nodePath });
        expect(await first(hostile.closed)).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_MESSAGE_TOO_LARGE' } });
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
      }),
    ));

  it('a peer that forges its source, floods garbage or speaks for others is not believed', () =>
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

  it('boots when its input is non-blocking and its buffers are short (REFERENCE 141)', async () => {
    // Node's own pipes are non-blocking sockets; the payload comes byte by byte.
    const child = spawn(process.execPath, ['-e', FIRST_STAGE, 'tendril:slow'], { stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'] });
    const [, , , toChild, fromChild] = child.stdio;
    if (!toChild || !fromChild || !('write' in toChild)) throw new Error('no pipes');
    const core = Buffer.from("(function(require,core){fs.writeSync(4,'EC1;'+core.length);process.exit(0)})");
    const { deflateRawSync } = await import('node:zlib');
    const packed = deflateRawSync(core);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(packed.length);
    let received = '';
    fromChild.on('data', (bytes: Buffer) => (received += bytes.toString()));
    for (const byte of Buffer.concat([length, packed, Buffer.alloc(4)])) {
      toChild.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => child.on('close', resolve));
    expect(received).toBe(`EC0 ${process.version};EC1;${String(packed.length)}`);
  });
});
