import { chmodSync, copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { searchStage } from '../src/parent/bootstrap/search.ts';
import * as tasks from './fixtures/tasks.ts';
import { findProgram, needs } from './support/needs.ts';
import { makeRootfs } from './support/rootfs.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import type { Sshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const SHELLS = ['sh', 'bash', 'fish', 'csh'].filter((shell) => findProgram(shell) !== undefined);

/** A program that is an old Node, as far as the first stage and the search can tell. */
const OLD = '#!/bin/sh\n[ $# = 2 ] && exit 1\nprintf "EC0 v12.22.1;" >&4\ncat <&3 >/dev/null\n';

describe('the search for Node', () => {
  watchForLeaks();

  it('is a script that survives single quotes in every shell', () => {
    const { shellLine, argv } = searchStage('tendril:web1');
    expect(argv[2]).not.toMatch(/['\\!\n]/);
    expect(shellLine).toBe(`exec sh -c '${argv[2] ?? ''}'`);
    expect(shellLine.length).toBeLessThan(2000);
  });

  needs('root', 'chroot', 'ldd', 'mknod')('where the PATH has none', () => {
    let rootfs: string;
    const put = (place: string): string => {
      const path = join(rootfs, place.replace('~', homedir()));
      mkdirSync(dirname(path), { recursive: true });
      return path;
    };
    const installNode = (place: string): void => {
      try {
        linkSync(process.execPath, put(place));
      } catch {
        copyFileSync(process.execPath, put(place));
      }
    };

    beforeAll(() => {
      rootfs = mkdtempSync(join(tmpdir(), 'tendril-rootfs-'));
      makeRootfs(rootfs);
      rmSync(join(rootfs, 'usr/bin/node'));
    });
    afterEach(() => {
      for (const place of ['usr/bin', 'opt', homedir()]) rmSync(join(rootfs, place), { recursive: true, force: true });
    });
    afterAll(() => {
      rmSync(rootfs, { recursive: true });
    });

    it.each([
      '/usr/bin/nodejs',
      '~/.nvm/versions/node/v22.1.0/bin/node',
      '~/.volta/bin/node',
      '~/.local/share/fnm/node-versions/v22.1.0/installation/bin/node',
      '~/.asdf/installs/nodejs/22.1.0/bin/node',
      '~/.local/share/mise/installs/node/22/bin/node',
      '/opt/node-v22/bin/node',
    ])('finds %s', (place) =>
      withTree({}, async ({ master }) => {
        installNode(place);
        expect(await first(master.chroot({ directory: rootfs }).call(tasks.add, 1, 2))).toBe(3);
      }));

    it('passes over what is too old', () =>
      withTree({}, async ({ master }) => {
        writeFileSync(put('/usr/bin/node'), OLD, { mode: 0o755 });
        writeFileSync(put('~/.nvm/versions/node/v12.22.1/bin/node'), OLD, { mode: 0o755 });
        installNode('~/.nvm/versions/node/v22.1.0/bin/node');
        const kid = master.chroot({ directory: rootfs });
        expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
        expect(kid.nodeVersion).toBe(process.version);
      }));

    it('says where it has looked when there is none', () =>
      withTree({}, async ({ master }) => {
        expect(await failure(master.chroot({ directory: rootfs }).connected)).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING', message: expect.stringMatching(/no usable Node \(20\.19 or newer\) in PATH, nvm, volta, fnm, asdf, mise/) });
      }));

    it('says so when there is only an old one', () =>
      withTree({}, async ({ master }) => {
        writeFileSync(put('/usr/bin/node'), OLD, { mode: 0o755 });
        expect(await failure(master.chroot({ directory: rootfs }).connected)).toMatchObject({ code: 'ERR_TENDRIL_NODE_TOO_OLD', message: expect.stringMatching(/v12\.22\.1.*a search for another found none.*nvm, volta/) });
      }));

    it('does not happen where it is not wanted', () =>
      withTree({}, async ({ master }) => {
        installNode('~/.volta/bin/node');
        for (const options of [{ runtime: 'path' as const }, { nodePath: 'node' }]) {
          const error = await failure(master.chroot({ directory: rootfs, ...options }).connected);
          expect(error).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
          expect(error.message).not.toContain('volta');
        }
        expect(await failure(master.command({ argv: ['chroot', rootfs] }).connected)).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
      }));

    it('ends when the context is shut down meanwhile', () =>
      withTree({}, async ({ master }) => {
        writeFileSync(put('~/.volta/bin/node'), '#!/bin/sh\nsleep 1000\n', { mode: 0o755 });
        const kid = master.chroot({ directory: rootfs });
        const failed = failure(kid.connected);
        // The first attempt has ended when the log has its text; the second hangs in the probe.
        await first(master.logs);
        await kid.shutdown();
        expect(await failed).toMatchObject({ code: 'ERR_TENDRIL_CANCELLED' });
      }));
  });

  needs(...SSHD_NEEDS)('over ssh', () => {
    let sshd: Sshd;
    const bin = mkdtempSync(join(tmpdir(), 'tendril-bin-'));

    beforeAll(async () => {
      chmodSync(bin, 0o755);
      symlinkSync('/bin/sh', join(bin, 'sh'));
      sshd = await startSshd({
        accounts: SHELLS.map((name) => ({ name, shell: findProgram(name) ?? '', files: { '.nvm/versions/node/v20.19.0/bin/node': `#!/bin/sh\nexec ${process.execPath} "$@"\n` } })),
        // The first value counts: a PATH without Node.
        config: [`SetEnv PATH=${bin}`],
      });
      for (const { home } of Object.values(sshd.accounts)) chmodSync(join(home, '.nvm/versions/node/v20.19.0/bin/node'), 0o755);
    });
    afterAll(async () => {
      await sshd.close();
      rmSync(bin, { recursive: true });
    });

    it.each(SHELLS)('passes through the login shell %s', (shell) =>
      withTree({}, async ({ master }) => {
        const options = { host: sshd.host, port: sshd.port, username: sshd.accounts[shell]?.username ?? '', identityFile: sshd.userKey, knownHosts: sshd.knownHosts, agent: false, sshConfig: false } as const;
        expect(await first(master.ssh(options).call(tasks.add, 1, 2))).toBe(3);
        expect(existsSync(join(bin, 'node'))).toBe(false);
      }));
  });
});
