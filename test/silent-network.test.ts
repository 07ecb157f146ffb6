import { describe, expect, it } from '@jest/globals';
import * as tasks from './fixtures/tasks.ts';
import { makeNamespace, mayMakeNamespaces } from './support/netns.ts';
import { needs } from './support/needs.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const able = mayMakeNamespaces();
if (!able) process.stderr.write('SKIPPED a suite: network namespaces cannot be made here (they take root, iproute2 and CAP_SYS_ADMIN)\n');

(able ? needs(...SSHD_NEEDS, 'ip') : describe.skip)('a network that drops everything without a word', () => {
  watchForLeaks();

  it('ends the context here, and the process there', async () => {
    const namespace = await makeNamespace();
    const server = await startSshd({ accounts: [{ name: 'u', shell: '/bin/sh' }], namespace });
    try {
      await withTree({ keepalive: { intervalMs: 300, countMax: 4 }, graceMs: 200 }, async ({ master }) => {
        const { username } = server.accounts.u;
        // Without ssh's own keepalive, so that it is ours that is seen.
        const web = master.ssh({ host: server.host, port: server.port, username, identityFile: server.userKey, knownHosts: server.knownHosts, sshConfig: false, agent: false, keepaliveIntervalMs: 0 });
        const { pid } = await first(web.call(tasks.whereAmI));
        const idle = master.ssh({ host: server.host, port: server.port, username, identityFile: server.userKey, knownHosts: server.knownHosts, sshConfig: false, agent: false, keepaliveIntervalMs: 0, name: 'idle' });
        await first(idle.connected);
        const there = server.processes().length;
        const pending = failure(web.call(tasks.hang));
        await first(web.ping());
        await namespace.cut();
        expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
        for (const context of [web, idle]) expect(await first(context.closed)).toMatchObject({ reason: 'lost', error: { code: 'ERR_TENDRIL_SILENT' } });
        // Nobody could tell them, and they are gone, one that has run calls and one that has not.
        await gone(pid);
        while (server.processes().length > there - 2) await pause();
      });
    } finally {
      await server.close();
      await namespace.close();
    }
  });
});

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 20);
  });
}

/** Waits for the end of a process. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await pause();
  }
}
