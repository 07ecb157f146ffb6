import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { filter, from, lastValueFrom, take, toArray } from 'rxjs';
import type { Observable } from 'rxjs';
import { FileError, UsageError, stream } from 'tendril';
import type { TransferProgress } from 'tendril';
import { checkItem } from '../src/remote/files/check.ts';
import type { FileItem, WriteSpec } from '../src/remote/files/protocol.ts';
import { Reception } from '../src/remote/files/receive.ts';
import { FileSource } from '../src/remote/files/source.ts';
import * as tasks from './fixtures/remote-tasks.ts';
import { needs } from './support/needs.ts';
import { ended, failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

const CHUNK = 60 * 1024;

let directory = '';
const at = (name: string): string => join(directory, name);
const last = (transfer: Observable<TransferProgress>): Promise<TransferProgress> => lastValueFrom(transfer);

/** Bytes of which no two neighbouring chunks are the same. */
function bytes(length: number): Buffer {
  const pattern = Buffer.from(Array.from({ length: 10_007 }, (_none, index) => (index * index) % 251));
  return Buffer.alloc(length, pattern);
}

function write(name: string, content: Buffer | string, mode = 0o644): string {
  writeFileSync(at(name), content);
  chmodSync(at(name), mode);
  return at(name);
}

/** Everything in a directory, without what is in it. */
const list = (name = '.'): string[] => readdirSync(at(name)).sort();

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tendril-files-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe('a file', () => {
  watchForLeaks();

  it(
    'arrives whole, whatever its size, both ways',
    withChild(async (kid) => {
      for (const size of [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 8 * CHUNK, 8 * CHUNK + 1, 3_000_001]) {
        const content = size < 4 ? Buffer.alloc(size, 7) : bytes(size);
        write('local', content);
        const pushed = await last(kid.push(at('local'), at('there')));
        expect(pushed).toMatchObject({ bytes: size, totalBytes: size, files: 1, totalFiles: 1, done: true });
        expect(readFileSync(at('there')).equals(content)).toBe(true);
        const pulled = await last(kid.pull(at('there'), at('back')));
        expect(pulled).toEqual(pushed);
        expect(readFileSync(at('back')).equals(content)).toBe(true);
      }
      expect(list()).toEqual(['back', 'local', 'there']);
    }),
  );

  it(
    'arrives whole beside others, to several contexts at once, near and far',
    async () => {
      await withTree({}, async ({ master }) => {
        const near = master.local();
        const contexts = [near, master.local(), master.local({ via: near })];
        const content = bytes(6_000_001);
        write('local', content);
        await Promise.all(contexts.map((kid, index) => last(kid.push(at('local'), at(`there${String(index)}`)))));
        await Promise.all([
          ...contexts.map((kid, index) => last(kid.pull(at(`there${String(index)}`), at(`back${String(index)}`)))),
          ...contexts.map((kid, index) => last(kid.push(at('local'), at(`again${String(index)}`)))),
        ]);
        for (const name of ['there', 'back', 'again']) for (const index of contexts.keys()) expect(readFileSync(at(`${name}${String(index)}`)).equals(content)).toBe(true);
      });
    },
  );

  it(
    'keeps its permission bits, and owner and times when asked',
    withChild(async (kid) => {
      write('local', 'x', 0o751);
      utimesSync(at('local'), 1_000_000_000, 1_000_000_001.5);
      await last(kid.push(at('local'), at('plain')));
      expect(statSync(at('plain')).mode & 0o7777).toBe(0o751);
      expect(statSync(at('plain')).mtimeMs).toBeGreaterThan(1_500_000_000_000);
      // Not a set-user-ID bit, unless it is asked for.
      chmodSync(at('local'), 0o4755);
      await last(kid.push(at('local'), at('kept'), { keepTimes: true, owner: 'keep' }));
      expect(statSync(at('kept'))).toMatchObject({ mtimeMs: 1_000_000_001_500, uid: statSync(at('local')).uid, gid: statSync(at('local')).gid });
      expect(statSync(at('kept')).mode & 0o7777).toBe(0o755);
      await last(kid.pull(at('local'), at('asked'), { mode: 0o4700 }));
      expect(statSync(at('asked')).mode & 0o7777).toBe(0o4700);
    }),
  );

  it(
    'replaces a file at once, a symbolic link and not what it leads to, and nothing when it must not',
    withChild(async (kid) => {
      write('local', 'new');
      write('old', 'old');
      symlinkSync('old', at('link'));
      await last(kid.push(at('local'), at('link')));
      expect(readFileSync(at('old'), 'utf8')).toBe('old');
      expect(readFileSync(at('link'), 'utf8')).toBe('new');
      for (const [target, content] of [['old', 'small'], ['old', bytes(2 * CHUNK)]] as const) {
        write('local', content);
        expect(await failure(kid.push(at('local'), at(target), { overwrite: false }))).toMatchObject({ code: 'ERR_TENDRIL_FILE_EXISTS' });
      }
      await last(kid.push(at('local'), at('fresh'), { overwrite: false, sync: true }));
      expect(readFileSync(at('old'), 'utf8')).toBe('old');
      expect(list()).toEqual(['fresh', 'link', 'local', 'old']);
    }),
  );

  it(
    'has a checksum, also a cryptographic one',
    withChild(async (kid) => {
      write('local', bytes(5 * CHUNK));
      const [expected] = execFileSync('sha256sum', [at('local')]).toString().split(' ');
      expect((await last(kid.push(at('local'), at('a'), { checksum: 'sha256' }))).checksum).toBe(expected);
      expect((await last(kid.pull(at('local'), at('b'), { checksum: 'sha256' }))).checksum).toBe(expected);
      expect((await last(kid.push(at('local'), at('c')))).checksum).toMatch(/^[0-9a-f]{8}$/);
    }),
  );

  it(
    'tells how far it is',
    withChild(async (kid) => {
      write('local', bytes(6_000_000));
      for (const transfer of [kid.push(at('local'), at('a')), kid.pull(at('local'), at('b'))]) {
        const progress = await lastValueFrom(transfer.pipe(toArray()));
        const seen = progress.map((step) => step.bytes);
        expect(seen.length).toBeGreaterThan(3);
        expect(seen).toEqual([...seen].sort((one, other) => one - other));
        expect(progress.map(({ done }) => done)).toEqual(progress.map((_step, index) => index === progress.length - 1));
        expect(progress.at(-1)).toMatchObject({ bytes: 6_000_000, totalBytes: 6_000_000, files: 1 });
      }
    }),
  );

  it(
    'fails with an error of its own for each trouble, and leaves nothing',
    withChild(async (kid) => {
      write('small', 'x');
      write('large', bytes(3 * CHUNK));
      mkdirSync(at('dir'));
      for (const name of ['small', 'large']) {
        const push = (target: string, options = {}): Promise<Error> => failure(kid.push(at(name), target, options));
        expect(await push(at('dir'))).toMatchObject({ name: 'FileError', code: 'ERR_TENDRIL_FILE_IS_DIRECTORY' });
        expect(await push(at('no/such/file'))).toMatchObject({ code: 'ERR_TENDRIL_FILE_MISSING', message: expect.stringMatching(/^kid: /) as unknown });
        expect(await push(at('small/x'))).toMatchObject({ code: 'ERR_TENDRIL_FILE_MISSING' });
        // For root, too.
        expect(await push('/sys/tendril')).toMatchObject({ code: 'ERR_TENDRIL_FILE_PERMISSION' });
        expect(await failure(kid.pull(at(name), at('dir')))).toMatchObject({ code: 'ERR_TENDRIL_FILE_IS_DIRECTORY', message: expect.stringMatching(/^here: /) as unknown });
        expect(await failure(kid.pull(at(name), at('new'), { maxBytes: 0 }))).toMatchObject({ code: 'ERR_TENDRIL_FILE_TOO_LARGE' });
      }
      await last(kid.push(at('large'), at('some/new/file'), { parents: true }));
      expect(await failure(kid.push(at('nothing'), at('x')))).toMatchObject({ code: 'ERR_TENDRIL_FILE_MISSING', message: expect.stringMatching(/^here: /) as unknown });
      expect(await failure(kid.pull(at('nothing'), at('x')))).toBeInstanceOf(FileError);
      expect(await failure(kid.read(at('dir')))).toMatchObject({ code: 'ERR_TENDRIL_FILE_IS_DIRECTORY' });
      execFileSync('mkfifo', [at('pipe')]);
      expect(await failure(kid.pull(at('pipe'), at('x')))).toMatchObject({ code: 'ERR_TENDRIL_FILE_KIND' });
      expect(list()).toEqual(['dir', 'large', 'pipe', 'small', 'some']);
      for (const bad of [() => kid.push('a', 'relative'), () => kid.pull('/a\0', 'b'), () => kid.push('a', '/b', { mode: 0o10000 }), () => kid.write('/a', '', { owner: { uid: -1 } })]) expect(bad).toThrow(UsageError);
    }),
  );

  it(
    'leaves nothing when it is given up, or aborted',
    withChild(async (kid) => {
      write('local', bytes(40_000_000));
      await lastValueFrom(kid.push(at('local'), at('a')).pipe(filter((step) => step.bytes > 0), take(1)));
      await lastValueFrom(kid.pull(at('local'), at('b')).pipe(filter((step) => step.bytes > 0), take(1)));
      const abort = new AbortController();
      const aborted = failure(kid.push(at('local'), at('c'), { signal: abort.signal }));
      abort.abort(new Error('enough'));
      expect((await aborted).message).toBe('enough');
      while (list().length > 1) await first(kid.call(tasks.pid));
      expect(list()).toEqual(['local']);
    }),
  );

  it('leaves nothing when the context is shut down, or its connection lost, in the middle', async () => {
    write('local', bytes(80_000_000));
    await withTree({}, async ({ master }) => {
      const kid = master.local();
      const transfer = failure(kid.push(at('local'), at('a')));
      await lastValueFrom(kid.push(at('local'), at('b')).pipe(filter((step) => step.bytes > 0), take(1)));
      await kid.shutdown();
      await transfer;
      expect(list()).toEqual(['local']);
      const other = master.local();
      const pid = await first(other.call(tasks.pid));
      const pulled = failure(other.pull(at('local'), at('c')));
      process.kill(pid, 'SIGKILL');
      await ended(pid);
      expect(await pulled).toMatchObject({ name: 'ChannelError' });
      while (list().length > 1) await new Promise((resolve) => setImmediate(resolve));
    });
  });

  it(
    'can be read and written as a stream',
    withChild(async (kid) => {
      async function* lines(): AsyncGenerator<string | Buffer> {
        for (let index = 0; index < 5000; index++) yield `line ${String(index)} of many\n`;
        yield bytes(200_000);
        await Promise.resolve();
      }
      const content = Buffer.concat([...Array.from({ length: 5000 }, (_none, index) => Buffer.from(`line ${String(index)} of many\n`)), bytes(200_000)]);
      const progress = await last(kid.write(at('a'), lines(), { mode: 0o600 }));
      expect(progress).toMatchObject({ bytes: content.length, totalBytes: undefined, done: true });
      expect(readFileSync(at('a')).equals(content)).toBe(true);
      expect(statSync(at('a')).mode & 0o777).toBe(0o600);
      expect(Buffer.concat(await lastValueFrom(kid.read(at('a')).pipe(toArray()))).equals(content)).toBe(true);
      const read: Uint8Array[] = [];
      for await (const piece of kid.read(at('a'))) read.push(piece);
      expect(Buffer.concat(read).equals(content)).toBe(true);
      await last(kid.write(at('text'), 'ümlaut'));
      await last(kid.write(at('observed'), from(['a', 'b'])));
      expect([readFileSync(at('text'), 'utf8'), readFileSync(at('observed'), 'utf8')]).toEqual(['ümlaut', 'ab']);
      async function* failing(): AsyncGenerator<string> {
        yield 'x';
        await Promise.reject(new Error('no more'));
      }
      expect((await failure(kid.write(at('b'), failing()))).message).toContain('no more');
      expect(list()).toEqual(['a', 'observed', 'text']);
    }),
  );

  it('goes on where it was when its context comes back', async () => {
    write('local', bytes(60_000_000));
    await withTree({}, async ({ master }) => {
      for (const direction of ['push', 'pull'] as const) {
        const kid = master.local({ reconnect: { initialDelayMs: 1 } });
        const pid = await first(kid.call(tasks.pid));
        let killed = false;
        const steps: number[] = [];
        const transfer = direction === 'push' ? kid.push(at('local'), at('there')) : kid.pull(at('local'), at('there'));
        await new Promise<void>((resolve, reject) => {
          transfer.subscribe({
            next: (step) => {
              steps.push(step.bytes);
              if (killed || step.bytes < 5_000_000) return;
              killed = true;
              process.kill(pid, 'SIGKILL');
            },
            error: reject,
            complete: resolve,
          });
        });
        expect(await first(kid.call(tasks.pid))).not.toBe(pid);
        expect(readFileSync(at('there')).equals(readFileSync(at('local')))).toBe(true);
        // It never fell back to the beginning.
        expect(Math.min(...steps.slice(steps.findIndex((step) => step >= 5_000_000)))).toBeGreaterThanOrEqual(5_000_000);
        expect(list()).toEqual(['local', 'there']);
        await kid.shutdown();
        rmSync(at('there'));
      }
    });
  });

  it('is an error when it changes while it is read', async () => {
    write('local', bytes(20 * CHUNK));
    for (const change of [() => { truncateSync(at('local'), 10); }, () => { writeFileSync(at('local'), bytes(20 * CHUNK)); }, () => { writeFileSync(at('local'), 'x', { flag: 'a' }); }]) {
      write('local', bytes(20 * CHUNK));
      const items = (await FileSource.open(at('local'))).items('crc32');
      await items.next();
      await items.next();
      change();
      await expect((async () => { for await (const item of items) expect(item).toBeDefined(); })()).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_CHANGED' });
    }
    // One that is replaced under its name is read to its end as it was.
    const items = (await FileSource.open(at('local'))).items('crc32');
    await items.next();
    write('other', 'other');
    renameSync(at('other'), at('local'));
    await (async () => { for await (const item of items) expect(item).toBeDefined(); })();
  });
});

describe('what is written', () => {
  watchForLeaks();

  const spec = (options: Partial<WriteSpec> = {}): WriteSpec => ({ path: at('there'), id: 'id', attributes: { mode: 0o600 }, overwrite: true, sync: false, parents: false, resumable: false, checksum: 'crc32', maxBytes: Infinity, ...options });
  const head = (size: number) => ({ size, mode: 0o644, uid: 0, gid: 0, mtimeMs: 0, atimeMs: 0, offset: 0 });

  async function receive(items: readonly unknown[], options: Partial<WriteSpec> = {}): Promise<void> {
    // eslint-disable-next-line @typescript-eslint/require-await
    async function* source(): AsyncGenerator<FileItem> {
      yield* items as FileItem[];
    }
    const reception = new Reception(spec(options), () => stream(source()));
    for await (const event of reception.events) expect(event).toBeDefined();
  }

  it('is checked: what is not what was sent does not get the name', async () => {
    await receive([head(3), Buffer.from('abc'), { checksum: '352441c2' }]);
    expect(readFileSync(at('there'), 'utf8')).toBe('abc');
    rmSync(at('there'));
    const bad: readonly (readonly unknown[])[] = [
      [head(3), Buffer.from('abd'), { checksum: '352441c2' }],
      [head(3), Buffer.from('ab'), { checksum: '352441c2' }],
      [head(3), Buffer.from('abcd'), { checksum: '352441c2' }],
      [head(3), Buffer.from('abc')],
      [head(3), Buffer.from('abc'), { checksum: 'no' }],
      [Buffer.from('abc'), head(3)],
      [{ ...head(3), mode: 'rwx' }],
      [{ ...head(3), offset: 2 }, Buffer.from('c'), { checksum: '352441c2' }],
      [null],
      [],
    ];
    for (const items of bad) await expect(receive(items)).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_TENDRIL_FILE_(?:CHECKSUM|IO)$/) as unknown });
    await expect(receive([head(3)], { maxBytes: 2 })).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_TOO_LARGE' });
    await expect(receive([head(Infinity), Buffer.from('abc')], { maxBytes: 2 })).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_TOO_LARGE' });
    expect(list()).toEqual([]);
  });

  it('does not follow a link that lies where the temporary file is to be', async () => {
    write('victim', 'precious');
    symlinkSync('victim', at('.there.id.part'));
    await expect(receive([head(0), { checksum: '00000000' }])).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_EXISTS' });
    await expect(receive([head(0), { checksum: '00000000' }], { resumable: true })).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_SYMLINK' });
    expect(readFileSync(at('victim'), 'utf8')).toBe('precious');
    expect(existsSync(at('there'))).toBe(false);
  });

  it('takes nothing before the head, and one head', () => {
    expect(() => checkItem(Buffer.from('x'), spec(), undefined, 0)).toThrow(/more bytes/);
    expect(() => checkItem(head(1), spec(), head(1), 0)).toThrow(/no file/);
  });
});

needs('mount', 'umount', 'root')('a full disk', () => {
  watchForLeaks();

  it(
    'is an error of its own, and leaves what was there',
    withChild(async (kid) => {
      mkdirSync(at('full'));
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', at('full')]);
      try {
        write('full/file', 'old');
        write('local', bytes(4_000_000));
        expect(await failure(kid.push(at('local'), at('full/file')))).toMatchObject({ name: 'FileError', code: 'ERR_TENDRIL_FILE_NO_SPACE' });
        expect(await failure(kid.pull(at('local'), at('full/file')))).toMatchObject({ code: 'ERR_TENDRIL_FILE_NO_SPACE', message: expect.stringMatching(/^here: /) as unknown });
        expect(await failure(kid.write(at('full/file'), bytes(3_000_000)))).toMatchObject({ code: 'ERR_TENDRIL_FILE_NO_SPACE' });
        expect(readFileSync(at('full/file'), 'utf8')).toBe('old');
        expect(list('full')).toEqual(['file']);
      } finally {
        execFileSync('umount', [at('full')]);
      }
    }),
  );
});

describe('a directory', () => {
  watchForLeaks();

  const make = (): void => {
    mkdirSync(at('tree/deep/er'), { recursive: true });
    mkdirSync(at('tree/empty'));
    for (let index = 0; index < 150; index++) write(`tree/deep/${String(index)}`, `file ${String(index)}`);
    write('tree/deep/er/large', bytes(500_000), 0o600);
    symlinkSync('../deep/1', at('tree/empty/link'));
    symlinkSync('/no/such/place', at('tree/dangling'));
    chmodSync(at('tree/empty'), 0o500);
    execFileSync('mkfifo', [at('tree/pipe')]);
  };
  const listing = (name: string): string => execFileSync('sh', ['-c', 'find . ! -name pipe -printf "%p %y %m %s %l\\n" | grep -v "^\\. " | sed "s/ d \\([0-7]*\\) [0-9]* / d \\1 /" | sort'], { cwd: at(name) }).toString();

  it(
    'is moved with all that is in it, both ways',
    withChild(async (kid) => {
      make();
      for (const [source, target] of [['tree', 'there'], ['there', 'back']] as const) {
        const progress = await lastValueFrom((target === 'there' ? kid.push(at(source), at(target)) : kid.pull(at(source), at(target))).pipe(toArray()));
        expect(progress.at(-1)).toMatchObject({ files: 151, totalFiles: 151, done: true, skipped: target === 'there' ? ['pipe'] : [] });
        expect(progress.at(-1)?.bytes).toBe(progress.at(-1)?.totalBytes);
        expect(listing(target)).toBe(listing('tree'));
        expect(readFileSync(at(`${target}/deep/er/large`)).equals(bytes(500_000))).toBe(true);
      }
      // Once more, over what is there.
      chmodSync(at('there/deep'), 0o700);
      write('there/deep/1', 'changed');
      await last(kid.push(at('tree'), at('there')));
      expect(readFileSync(at('there/deep/1'), 'utf8')).toBe('file 1');
      expect(statSync(at('there/deep')).mode & 0o777).toBe(0o700);
    }),
  );

  it(
    'has its symbolic links followed, or refused, when asked',
    withChild(async (kid) => {
      mkdirSync(at('tree'));
      write('outside', 'outside');
      symlinkSync('../outside', at('tree/link'));
      await last(kid.push(at('tree'), at('followed'), { symlinks: 'follow' }));
      expect(readFileSync(at('followed/link'), 'utf8')).toBe('outside');
      expect(() => readlinkSync(at('followed/link'))).toThrow();
      expect(await failure(kid.push(at('tree'), at('refused'), { symlinks: 'refuse' }))).toMatchObject({ code: 'ERR_TENDRIL_FILE_SYMLINK' });
      expect(existsSync(at('refused'))).toBe(false);
      symlinkSync('.', at('tree/circle'));
      expect(await failure(kid.push(at('tree'), at('circle'), { symlinks: 'follow' }))).toBeInstanceOf(FileError);
    }),
  );

  it(
    'is not written through a link that is in the way',
    withChild(async (kid) => {
      mkdirSync(at('tree/sub'), { recursive: true });
      write('tree/sub/file', 'x');
      mkdirSync(at('elsewhere'));
      mkdirSync(at('there'));
      symlinkSync('../elsewhere', at('there/sub'));
      expect(await failure(kid.push(at('tree'), at('there')))).toMatchObject({ name: 'FileError' });
      expect(list('elsewhere')).toEqual([]);
    }),
  );
});
