import { mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { FileService, UsageError } from 'tendril';
import * as tasks from './fixtures/remote-tasks.ts';
import { first, watchForLeaks, withTree } from './support/tree.ts';

let directory = '';
const at = (name: string): string => join(directory, name);

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'tendril-service-')));
  mkdirSync(at('shared/deep'), { recursive: true });
  writeFileSync(at('shared/deep/file'), 'shared', { mode: 0o640 });
  writeFileSync(at('secret'), 'secret');
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

async function read(files: FileService, path: string): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of files.read(path)) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

describe('a FileService', () => {
  watchForLeaks();

  it('refuses what is not registered, whether it is there or not (REFERENCE 188)', async () => {
    const files = new FileService();
    files.register(at('secret'));
    for (const path of [at('shared/deep/file'), at('nothing'), '/etc/passwd', `${directory}/shared/../secret`, `${directory}//secret`, at('secret/')]) {
      await expect(read(files, path)).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED', message: expect.stringContaining(path) as unknown });
      await expect(files.stat(path)).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED' });
    }
    files.unregister(at('secret'));
    await expect(read(files, at('secret'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED' });
    for (const bad of ['\0', 7]) expect(() => { files.register(bad as string); }).toThrow(UsageError);
  });

  it('gives a registered file, and what is below a registered directory, / among them, with what they are (REFERENCE 189)', async () => {
    const { uid, gid, mtimeMs, atimeMs } = statSync(at('shared/deep/file'));
    for (const register of [(files: FileService) => { files.register(at('shared/deep/file')); }, (files: FileService) => { files.registerPrefix(at('shared')); }, (files: FileService) => { files.registerPrefix('/'); }]) {
      const files = new FileService();
      register(files);
      expect(await read(files, at('shared/deep/file'))).toBe('shared');
      const info = await files.stat(at('shared/deep/file'));
      expect(info).toMatchObject({ size: 6, mode: 0o640, uid, gid, owner: userInfo().username });
      expect(info.mtimeMs).toBeCloseTo(mtimeMs, 2);
      expect(Math.abs(info.atimeMs - atimeMs)).toBeLessThan(60_000);
      expect(info.group).toEqual(expect.any(String));
    }
    const files = new FileService();
    files.registerPrefix(at('shared'));
    await expect(read(files, at('shared/nothing'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_MISSING' });
    await expect(read(files, at('shared/deep'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_IS_DIRECTORY' });
    // Of the same name, and more.
    mkdirSync(at('shared-not'));
    writeFileSync(at('shared-not/file'), '');
    await expect(read(files, at('shared-not/file'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED' });
  });

  it('is not led out of a directory by links or by dots', async () => {
    const files = new FileService();
    files.registerPrefix(at('shared'));
    symlinkSync('../secret', at('shared/link'));
    symlinkSync(directory, at('shared/up'));
    symlinkSync('deep/file', at('shared/inside'));
    for (const path of ['shared/link', 'shared/up/secret']) await expect(read(files, at(path))).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED' });
    for (const path of ['/shared/../secret', '/shared/./deep/file', '/shared//deep/file']) await expect(read(files, directory + path)).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED' });
    expect(await read(files, at('shared/inside'))).toBe('shared');
    // Nor is told what is there.
    for (const path of ['shared/up/nothing', 'shared/up/secret/x']) await expect(read(files, at(path))).rejects.toMatchObject({ code: 'ERR_TENDRIL_FILE_REFUSED' });
    // A directory that is itself a link is what it leads to.
    symlinkSync('shared', at('alias'));
    files.registerPrefix(at('alias'));
    expect(await read(files, at('alias/deep/file'))).toBe('shared');
  });

  it('never gives what a link leads to that takes the place of a file at the wrong moment', async () => {
    const files = new FileService();
    files.registerPrefix(at('shared'));
    const state = { stop: false };
    const swap = (async () => {
      while (!state.stop) {
        symlinkSync('../secret', at('shared/.new'));
        renameSync(at('shared/.new'), at('shared/racing'));
        await new Promise((resolve) => setImmediate(resolve));
        writeFileSync(at('shared/.new'), 'shared');
        renameSync(at('shared/.new'), at('shared/racing'));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    writeFileSync(at('shared/racing'), 'shared');
    const seen = new Set<string>();
    for (let turn = 0; turn < 500; turn++) seen.add(await read(files, at('shared/racing')).catch((error: unknown) => (error as { code: string }).code));
    state.stop = true;
    await swap;
    expect(seen.has('secret')).toBe(false);
    expect(seen.size).toBeGreaterThan(0);
  });

  it('serves code in children what is registered, and nothing else (REFERENCE 188, 189)', () =>
    withTree({}, async ({ master }) => {
      const files = new FileService();
      files.registerPrefix(at('shared'));
      master.serve(files, { name: 'files' });
      const kid = master.local();
      expect(await first(kid.call(tasks.readFromMaster, at('shared/deep/file')))).toBe(`shared ${userInfo().username} 6`);
      for (const path of [at('secret'), `${directory}/shared/../secret`, 'relative']) expect(await first(kid.call(tasks.readFromMaster, path))).toMatch(/^ERR_TENDRIL_(?:FILE_REFUSED|SERVICE_ARGUMENTS)$/);
    }));
});
