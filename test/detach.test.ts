import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { lastValueFrom, take, toArray } from 'rxjs';
import { anyContext, attach } from 'tendril';
import * as outliving from './fixtures/outliving.ts';
import * as tasks from './fixtures/tasks.ts';
import { comesTrue, endTree, isAlive, withSockets } from './support/outlived.ts';
import { needs } from './support/needs.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import type { Sshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withChild, withTree } from './support/tree.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

describe('a context that is detached', () => {
  watchForLeaks();

  it(
    'goes on when its master has ended, is found again, and ends with all below it (REFERENCE 127)',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      const pids: number[] = [];
      await withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        const inner = master.local({ name: 'inner', via: kid });
        for (const context of [kid, inner]) pids.push((await first(context.call(tasks.whereAmI))).pid);
        expect(await first(kid.call(outliving.listen, { path }))).toBe(path);
        const pending = failure(kid.call(tasks.hang));
        const mailbox = lastValueFrom(kid.handle(5001), { defaultValue: undefined });
        await kid.detach();
        expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
        await mailbox;
        expect(await first(kid.closed)).toEqual({ reason: 'detached' });
        expect(await first(inner.closed)).toEqual({ reason: 'detached' });
        expect(master.contexts).toEqual([]);
        expect([kid.id, inner.id].map((id) => master.router.table.get(id))).toEqual([undefined, undefined]);
        expect(await failure(kid.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
        // It counts as gone, also for who asks again.
        await kid.detach();
        await kid.shutdown();
      });
      expect(pids.map(isAlive)).toEqual([true, true]);
      const tree = await attach(path);
      const [root, inner] = tree.contexts;
      expect(tree.contexts.map(({ name }) => name)).toEqual(['kid', 'inner']);
      expect(await first(root!.call(tasks.whereAmI))).toMatchObject({ pid: pids[0] });
      expect(await first(inner!.call(tasks.whereAmI))).toMatchObject({ pid: pids[1] });
      expect(await first(root!.call(outliving.parents))).toEqual([]);
      expect(await first(inner!.call(outliving.parents))).toEqual([root!.id]);
      expect(new Set(Object.values(await first(root!.call(outliving.descriptors))))).toEqual(new Set(['/dev/null']));
      expect(await lastValueFrom(inner!.call(tasks.generated, 300).pipe(toArray()))).toHaveLength(300);
      expect(await endTree(tree, ...pids)).toEqual([]);
      expect(existsSync(path)).toBe(false);
    }),
  );

  it(
    'may let go by itself: what it has said before arrives',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      let pid = 0;
      await withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        ({ pid } = await first(kid.call(tasks.whereAmI)));
        const mailbox = master.self.handle<string>(undefined, { policy: anyContext, bufferSize: 2000 });
        const said = lastValueFrom(mailbox.pipe(take(1000), toArray()));
        const call = failure(kid.call(outliving.leave, { path }, mailbox.sender));
        expect(await first(kid.closed)).toEqual({ reason: 'detached' });
        expect(await said).toEqual(Array.from({ length: 1000 }, (_unused, number) => `line ${String(number)}`));
        expect(await call).toMatchObject({ reason: 'respondent-gone' });
        mailbox.close();
      });
      const tree = await attach(path);
      expect(tree.contexts.map(({ name }) => name)).toEqual(['kid', 'below']);
      const [, below] = tree.contexts;
      expect(await first(below!.call(tasks.add, 1, 2))).toBe(3);
      const { pid: inner } = await first(below!.call(tasks.whereAmI));
      expect(await endTree(tree, pid, inner)).toEqual([]);
    }),
  );

  it(
    'makes contexts as before, with IDs that nobody of the old tree has',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      let pid = 0;
      let old: number[] = [];
      await withTree({}, async ({ master }) => {
        const outer = master.local({ name: 'outer' });
        const kid = master.local({ name: 'kid', via: outer });
        const below = master.local({ name: 'below', via: kid });
        old = [0, outer.id, kid.id, below.id];
        ({ pid } = await first(kid.call(tasks.whereAmI)));
        await first(below.call(tasks.add, 1, 2));
        await first(kid.call(outliving.grow, 'first'));
        await first(kid.call(outliving.listen, { path }));
        await kid.detach();
        // The one on the way is still there, and ends without it.
        expect(await first(outer.call(tasks.add, 1, 2))).toBe(3);
      });
      const tree = await attach(path);
      const [root] = tree.contexts;
      expect(old).not.toContain(tree.self.id);
      const added = await Promise.all(Array.from({ length: 5 }, (_unused, number) => first(root!.call(outliving.grow, `new${String(number)}`))));
      expect(added.filter((id) => old.includes(id))).toEqual([]);
      expect(new Set(added).size).toBe(5);
      // The tree that was joined shows them.
      for (const id of added) expect(await first(tree.context(id)!.call(tasks.add, 1, 2))).toBe(3);
      expect(await endTree(tree, pid)).toEqual([]);
    }),
  );

  it(
    'settles what waits for those who were above, and loads what it has only',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      let pid = 0;
      await withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        ({ pid } = await first(kid.call(tasks.whereAmI)));
        await first(kid.call(outliving.grow, 'below'));
        await first(kid.call(outliving.listen, { path }));
        await kid.detach();
      });
      const tree = await attach(path);
      const [root, below] = tree.contexts;
      for (const context of [root!, below!]) {
        expect(await first(context.call(outliving.loadComputed, 'siblings'))).toBe('ERR_TENDRIL_DETACHED');
        expect(await first(context.call(tasks.add, 1, 2))).toBe(3);
      }
      expect(await first(root!.call(outliving.hearFromParent))).toMatch(/no-route|respondent-gone/);
      expect(await endTree(tree, pid)).toEqual([]);
    }),
  );

  it(
    'survives SIGKILL of its master, and of the context between them',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      const child = execFile(process.execPath, [fixture('departing-master.mjs'), path, fixture('outliving-tasks.mjs')]);
      const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
      const [outer, kid, below] = JSON.parse(line) as [number, number, number];
      process.kill(outer, 'SIGKILL');
      child.kill('SIGKILL');
      await once(child, 'close');
      expect(await comesTrue(() => !isAlive(outer))).toBe(true);
      expect([kid, below].map(isAlive)).toEqual([true, true]);
      const tree = await attach(path);
      expect(tree.contexts.map(({ name }) => name)).toEqual(['kid', 'below']);
      expect(await first(tree.context('below')!.call(tasks.add, 1, 2))).toBe(3);
      expect(await endTree(tree, kid, below)).toEqual([]);
    }),
  );

  it(
    'is detached while its code hangs, and ended while it hangs',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      let pid = 0;
      await withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        ({ pid } = await first(kid.call(tasks.whereAmI)));
        await first(kid.call(outliving.listen, { path }));
        kid.call(tasks.spin).subscribe({ error: () => undefined });
        await kid.detach();
      });
      const tree = await attach(path);
      expect(await endTree(tree, pid)).toEqual([]);
    }),
  );

  it(
    'cannot be when it never connected, was told to shut down, or is gone',
    withChild(async (kid, { master }) => {
      const missing = master.local({ nodePath: '/nonexistent/node' });
      await expect(missing.detach()).rejects.toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
      const { pid } = await first(kid.call(tasks.whereAmI));
      process.kill(pid, 'SIGKILL');
      await first(kid.closed);
      await expect(kid.detach()).rejects.toMatchObject({ code: 'ERR_TENDRIL_DETACH', message: expect.stringContaining('was lost') as unknown });
      const other = master.local();
      const ending = other.shutdown();
      await expect(other.detach()).rejects.toMatchObject({ code: 'ERR_TENDRIL_SHUTDOWN' });
      await ending;
      expect(() => outliving.parents()).toThrow(expect.objectContaining({ code: 'ERR_TENDRIL_NOT_A_CHILD' }));
    }),
  );
});

needs(...SSHD_NEEDS)('a context that is detached over a real sshd', () => {
  let sshd: Sshd<'sh'>;

  beforeAll(async () => {
    sshd = await startSshd({ accounts: [{ name: 'sh', shell: '/bin/sh' }] });
  });

  afterAll(async () => {
    await sshd.close();
  });

  it('goes on behind the end of the connection, which is closed', () =>
    withTree({}, async ({ master }) => {
      const { username } = sshd.accounts.sh;
      const web = master.ssh({ name: 'web', host: sshd.host, port: sshd.port, username, identityFile: sshd.userKey, knownHosts: sshd.knownHosts, sshConfig: false, agent: false, nodePath: process.execPath });
      const path = join(sshd.accounts.sh.home, 'run', 'socket');
      const { pid } = await first(web.call(tasks.whereAmI));
      await first(web.call(outliving.listen, { path }));
      await web.detach();
      expect(await first(web.closed)).toEqual({ reason: 'detached' });
      // sshd's processes for the session end, this one does not.
      expect(await comesTrue(() => sshd.processes().length === 1)).toBe(true);
      expect(sshd.processes()).toEqual([pid]);
      // Found by a process of its own account.
      const { uid, gid } = sshd.accounts.sh;
      const { stdout } = await promisify(execFile)(process.execPath, [fixture('attach-as.mjs'), path, String(uid), String(gid)]);
      expect(JSON.parse(stdout)).toEqual(['web', username]);
      expect(await comesTrue(() => !isAlive(pid))).toBe(true);
    }));
});
