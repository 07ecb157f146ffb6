import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Subject, firstValueFrom, forkJoin, lastValueFrom, take, tap, toArray } from 'rxjs';
import { CommandError, Secret, UsageError } from 'tendril';
import type { CommandResult } from 'tendril';
import * as tasks from './fixtures/remote-tasks.ts';
import { ended, failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

/** The process of a command that has printed its ID in a line of its own. */
async function pidOf(text: Promise<string>): Promise<number> {
  return Number((await text).trim());
}

describe('exec()', () => {
  watchForLeaks();

  it(
    'gives output, code and signal',
    withChild(async (kid) => {
      expect(await first(kid.exec('echo', ['a b', '$HOME']).result())).toEqual({ code: 0, signal: null, stdout: 'a b $HOME\n', stderr: '' });
      expect(await first(kid.exec('sh', ['-c', 'echo out; echo err >&2; exit 3']).result())).toEqual({ code: 3, signal: null, stdout: 'out\n', stderr: 'err\n' });
      expect(await first(kid.exec('sh', ['-c', 'kill -9 $$']).exit)).toEqual({ code: null, signal: 'SIGKILL' });
      const { stdout } = await first(kid.exec('printf', ['\\377\\000']).result({ encoding: 'buffer' }));
      expect([...stdout]).toEqual([255, 0]);
    }),
  );

  it(
    'gives stdout and stderr apart, as lines and as bytes, with the end',
    withChild(async (kid) => {
      const command = kid.exec('sh', ['-c', 'printf "one\\ntwo\\r\\n\\nlast"; echo e1 >&2; echo e2 >&2']);
      const [out, err, end, pid] = await lastValueFrom(forkJoin([command.stdout.lines().pipe(toArray()), command.stderr.pipe(toArray()), command.exit, command.pid]));
      expect(out).toEqual(['one', 'two', '', 'last']);
      expect(Buffer.concat(err).toString()).toBe('e1\ne2\n');
      expect(end).toEqual({ code: 0, signal: null });
      expect(pid).toBeGreaterThan(1);
      // It replays.
      expect(await first(command.exit)).toEqual(end);
    }),
  );

  it(
    'is cold and runs once',
    withChild(async (kid) => {
      const directory = mkdtempSync(join(tmpdir(), 'tendril-exec-'));
      try {
        const file = join(directory, 'runs');
        const command = kid.exec('sh', ['-c', 'echo x >> "$FILE"'], { env: { FILE: file } });
        await first(kid.exec('true').exit);
        expect(existsSync(file)).toBe(false);
        await Promise.all([first(command.exit), first(command.exit)]);
        await first(command.exit);
        expect(readFileSync(file, 'utf8')).toBe('x\n');
        expect(await failure(command.stdout)).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_OUTPUT' });
      } finally {
        rmSync(directory, { recursive: true });
      }
    }),
  );

  it(
    'drops what nobody reads, so that a command cannot wait for a reader it does not have',
    withChild(async (kid) => {
      expect(await first(kid.exec('head', ['-c', '10000000', '/dev/zero']).exit)).toEqual({ code: 0, signal: null });
    }),
  );

  it(
    'holds a command back that writes faster than it is read, at any depth',
    async () => {
      await withTree({}, async ({ master }) => {
        const far = master.local({ via: master.local() });
        // It writes four blocks a line, and says on stderr how many lines there are.
        const command = far.exec('sh', ['-c', 'line=$(head -c 65535 /dev/zero | tr "\\0" x); i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "$line"; echo $i >&2; done']);
        let written = 0;
        command.stderr.lines().subscribe((line) => {
          written = Number(line);
        });
        const bytes = command.stdout.windowed({ bytes: 256 * 1024 })[Symbol.asyncIterator]();
        let read = (await bytes.next()).value?.length ?? 0;
        // Until it writes no more: a round trip behind all that it has written so far brings nothing new.
        for (let before = -1; before !== written; ) {
          before = written;
          for (let turn = 0; turn < 20; turn++) await first(far.exec('true').exit);
        }
        // The window, what is read ahead, and what the pipe and sockets hold: 26 MB would be all.
        expect(written * 65_536).toBeLessThan(4_000_000);
        for (let step = await bytes.next(); step.done !== true; step = await bytes.next()) read += step.value.length;
        expect(read).toBe(400 * 65_536);
        expect(await first(command.exit)).toEqual({ code: 0, signal: null });
      });
    },
  );

  it(
    'gives much output byte for byte, in large and small pieces, to readers that are fast or slow',
    async () => {
      await withTree({}, async ({ master }) => {
        const near = master.local();
        const far = master.local({ via: near });
        // What comes in one piece is sent as it was read, and the memory used again; what comes in dribs is copied.
        for (const script of ['seq 1 1200000', 'for i in $(seq 1 300); do echo $i; done; seq 1 300000; printf end']) {
          const expected = createHash('sha256').update(execFileSync('sh', ['-c', script], { maxBuffer: 2 ** 25 })).digest('hex');
          for (const kid of [near, far]) {
            const fast = createHash('sha256');
            const slow = createHash('sha256');
            const [quick, lazy] = [kid.exec('sh', ['-c', script]), kid.exec('sh', ['-c', script])];
            const reading = (async () => {
              for await (const piece of lazy.stdout.windowed({ bytes: 128 * 1024 })) {
                await new Promise((resolve) => setImmediate(resolve));
                slow.update(piece);
              }
            })();
            await Promise.all([lastValueFrom(quick.stdout.pipe(tap((piece) => fast.update(piece)))), reading]);
            expect([fast.digest('hex'), slow.digest('hex')]).toEqual([expected, expected]);
          }
        }
      });
    },
  );

  it(
    'takes input from a text, bytes, a stream and an observable',
    withChild(async (kid) => {
      const count = async (stdin: Parameters<typeof kid.exec>[2]): Promise<string> => (await first(kid.exec('wc', ['-c'], stdin).result())).stdout.trim();
      expect(await count({ stdin: 'grün' })).toBe('5');
      expect(await count({ stdin: Buffer.alloc(3_000_000) })).toBe('3000000');
      expect(await count({ stdin: new Secret('four') })).toBe('4');
      async function* chunks(): AsyncGenerator<string> {
        for (let index = 0; index < 1000; index++) {
          yield 'x'.repeat(1000);
          if (index % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
      }
      expect(await count({ stdin: chunks() })).toBe('1000000');
      // A dialogue.
      const input = new Subject<string>();
      const command = kid.exec('sh', ['-c', 'while read -r line; do echo "<$line>"; done'], { stdin: input });
      const said = command.stdout.lines()[Symbol.asyncIterator]();
      const answer = said.next();
      await first(command.pid);
      input.next('hello\n');
      expect(await answer).toEqual({ done: false, value: '<hello>' });
      input.next('again\n');
      input.complete();
      expect(await said.next()).toEqual({ done: false, value: '<again>' });
      expect(await said.next()).toMatchObject({ done: true });
      expect(await first(command.exit)).toEqual({ code: 0, signal: null });
    }),
  );

  it(
    'does not mind a command that does not read its input, and ends one whose input fails',
    withChild(async (kid) => {
      expect(await first(kid.exec('true', [], { stdin: Buffer.alloc(5_000_000) }).exit)).toEqual({ code: 0, signal: null });
      // eslint-disable-next-line @typescript-eslint/require-await
      async function* failing(): AsyncGenerator<string> {
        yield 'a';
        throw new Error('the source is gone');
      }
      const error = await failure(kid.exec('cat', [], { stdin: failing() }).result());
      expect(error).toBeInstanceOf(CommandError);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_STDIN', message: expect.stringContaining('the source is gone') as unknown });
    }),
  );

  it(
    'sets directory and environment, and uses a shell only when told to',
    withChild(async (kid) => {
      const run = (script: string, options: Parameters<typeof kid.exec>[2] = {}): Promise<CommandResult> => first(kid.exec(script, [], { shell: true, ...options }).result());
      expect((await run('pwd', { cwd: '/usr' })).stdout).toBe('/usr\n');
      expect((await run('echo $((1+1)) "$A" "${B-none}"', { env: { A: 'x', B: undefined } })).stdout).toBe('2 x none\n');
      expect((await run('echo "$TOKEN"', { env: { TOKEN: new Secret('hush') } })).stdout).toBe('hush\n');
      expect(await failure(kid.exec('echo $((1+1))').exit)).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_NOT_FOUND' });
    }),
  );

  it(
    'tells why a command cannot be run, to all who ask, without its arguments',
    withChild(async (kid) => {
      const missing = kid.exec('no-such-command', ['--token=hush']);
      const [exit, lines] = await Promise.all([failure(missing.exit), failure(missing.stdout.lines())]);
      expect(exit).toBeInstanceOf(CommandError);
      expect(exit).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_NOT_FOUND' });
      expect(lines).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_NOT_FOUND' });
      expect(exit.message).not.toContain('hush');
      expect(await failure(kid.exec('/etc/passwd').result())).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_PERMISSION' });
      expect(await failure(kid.exec('true', [], { cwd: '/no/such/place' }).exit)).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_CWD' });
      expect(await failure(kid.exec('true', ['x'.repeat(4_000_000)]).exit)).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_SPAWN' });
      for (const bad of [() => kid.exec(''), () => kid.exec('a\0b'), () => kid.exec('a', ['\0']), () => kid.exec('a', [], { env: { 'a=b': '' } }), () => kid.exec('a', [], { cwd: '\0' })]) expect(bad).toThrow(UsageError);
    }),
  );

  it(
    'makes a failure an error only when asked, with what the command wrote',
    withChild(async (kid) => {
      const error = await failure(kid.exec('sh', ['-c', 'echo why >&2; exit 4'], { check: true }).result());
      expect(error).toBeInstanceOf(CommandError);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_FAILED', result: { code: 4, signal: null, stdout: '', stderr: 'why\n' } });
      expect(await failure(kid.exec('false', [], { check: true }).exit)).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_FAILED', result: { code: 1 } });
      expect(await first(kid.exec('true', [], { check: true }).exit)).toEqual({ code: 0, signal: null });
    }),
  );

  it(
    'ends a command that writes more than result() may hold',
    withChild(async (kid) => {
      const command = kid.exec('yes');
      const pid = first(command.pid);
      expect(await failure(command.result({ maxBuffer: 100_000 }))).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_MAX_BUFFER' });
      await ended(await pid);
    }),
  );

  it(
    'ends the whole process group when nobody is subscribed any more, by SIGKILL when it does not listen',
    withChild(async (kid) => {
      // The shell and its own child ignore SIGTERM.
      const stubborn = kid.exec('sh', ['-c', 'trap "" TERM; sh -c "echo \\$\\$; exec sleep 1000"'], { graceMs: 100 });
      const pid = await pidOf(firstValueFrom(stubborn.stdout.lines()));
      await ended(pid);
      const polite = kid.exec('sh', ['-c', 'echo $$; sleep 1000 & wait']);
      await ended(await pidOf(firstValueFrom(polite.stdout.lines())));
      expect(await failure(polite.exit)).toMatchObject({ code: 'ERR_TENDRIL_COMMAND_CANCELLED' });
    }),
  );

  it(
    'closes the pipe of one who has read enough, and lets the command go on for the others',
    withChild(async (kid) => {
      const command = kid.exec('sh', ['-c', 'yes; echo "yes ended with $?" >&2']);
      const [lines, err, end] = await lastValueFrom(forkJoin([command.stdout.lines().pipe(take(3), toArray()), command.stderr.lines().pipe(toArray()), command.exit]));
      expect(lines).toEqual(['y', 'y', 'y']);
      expect(err.at(-1)).toMatch(/^yes ended with \d+$/);
      expect(end.code).toBe(0);
    }),
  );

  it(
    'ends a command by an AbortSignal, and fails all its observables with the reason',
    withChild(async (kid) => {
      const abort = new AbortController();
      const command = kid.exec('sleep', ['1000'], { signal: abort.signal });
      const settled = Promise.all([failure(command.exit), failure(command.stdout), failure(command.stderr)]);
      const pid = await first(command.pid);
      abort.abort(new Error('enough'));
      expect((await settled).map(({ message }) => message)).toEqual(['enough', 'enough', 'enough']);
      await ended(pid);
      expect((await failure(kid.exec('true', [], { signal: abort.signal }).exit)).message).toBe('enough');
    }),
  );

  it(
    'sends signals to the group',
    withChild(async (kid) => {
      const command = kid.exec('sh', ['-c', 'trap "echo got it; exit 7" USR1; echo ready; while :; do sleep 0.01; done']);
      const lines = command.stdout.lines()[Symbol.asyncIterator]();
      const exit = first(command.exit);
      expect((await lines.next()).value).toBe('ready');
      expect(await first(command.kill('SIGUSR1'))).toBe(true);
      expect((await lines.next()).value).toBe('got it');
      expect(await exit).toEqual({ code: 7, signal: null });
      expect(await first(command.kill())).toBe(false);
      await lines.return?.();
    }),
  );

  it('ends commands with their context: in order, when it hangs, and when it is killed', async () => {
    await withTree({}, async ({ master }) => {
      const commandIn = async (script: string) => {
        const kid = master.local();
        const command = kid.exec('sh', ['-c', script]);
        const over = failure(command.exit);
        const pid = await first(command.pid);
        return { kid, pid, over };
      };
      const orderly = await commandIn('sleep 1000');
      const deaf = await commandIn('trap "" TERM; sleep 1000; sleep 1000');
      const hanging = await commandIn('trap "" TERM; sleep 1000; sleep 1000');
      const killed = await commandIn('trap "" TERM; sleep 1000; sleep 1000');
      hanging.kid.call(tasks.hang).subscribe({ error: () => undefined });
      process.kill(await first(killed.kid.call(tasks.pid)), 'SIGKILL');
      await Promise.all([orderly.kid.shutdown(), deaf.kid.shutdown(), hanging.kid.shutdown()]);
      for (const { pid, over } of [orderly, deaf, hanging, killed]) {
        expect((await over).message).not.toBe('');
        await ended(pid);
      }
    });
  });

  it('lets what a command has left in the background go on', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tendril-exec-'));
    const go = join(directory, 'go');
    try {
      await withTree({}, async ({ master }) => {
        const kid = master.local();
        const { stdout } = await first(kid.exec('sh', ['-c', 'sh -c "until [ -e $GO ]; do sleep 0.01; done; echo went > $GO" >/dev/null 2>&1 & echo $!'], { env: { GO: go } }).result());
        await kid.shutdown();
        process.kill(Number(stdout), 0);
        writeFileSync(go, '');
        await ended(Number(stdout));
        expect(readFileSync(go, 'utf8')).toBe('went\n');
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('runs whatever the policy of modules is, and in children of children', async () => {
    await withTree({ modules: { allow: ['nothing'] } }, async ({ master }) => {
      const kid = master.local();
      expect((await first(kid.exec('echo', ['1']).result())).stdout).toBe('1\n');
      expect((await first(master.local({ via: kid }).exec('echo', ['2']).result())).stdout).toBe('2\n');
    });
    await withTree({}, async ({ master }) => {
      expect(await first(master.local().call(tasks.commandInChild, 'three'))).toBe('three\n');
    });
  });

  it('fails with the context, before it is connected and after', async () => {
    await withTree({}, async ({ master }) => {
      const broken = master.local({ nodePath: '/no/such/node' });
      expect(await failure(broken.exec('true').exit)).toMatchObject({ name: 'ConnectError' });
    });
  });
});
