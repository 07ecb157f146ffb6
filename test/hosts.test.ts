import { describe, expect, it } from '@jest/globals';
import { Secret } from 'tendril';
import type { ConnectedContext } from 'tendril';
import * as post from './fixtures/post.ts';
import * as tasks from './fixtures/tasks.ts';
import { HOSTS_NEEDS, makeHosts } from './support/hosts.ts';
import { needs } from './support/needs.ts';
import { mayMakeNamespaces } from './support/netns.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

/** The data centres of the document: each host can be reached from the one that it names, and from nowhere else. */
const TOPOLOGY = { bastion: undefined, dc1: 'bastion', rack12: 'dc1', node12b: 'rack12', dc2: 'bastion', rack22: 'dc2', node22a: 'rack22' } as const;
type Host = keyof typeof TOPOLOGY;

const able = mayMakeNamespaces();
if (!able) process.stderr.write('SKIPPED a suite: network namespaces cannot be made here (they take root, iproute2 and CAP_SYS_ADMIN)\n');

(able ? needs(...HOSTS_NEEDS) : describe.skip)('a tree over hosts that only their rack reaches', () => {
  watchForLeaks();

  it('sends from sudo:node22a:webapp to sudo:node12b:webapp on the way of the document', async () => {
    const hosts = await makeHosts(TOPOLOGY);
    try {
      await withTree({ trace: 'io' }, async ({ master, records }) => {
        const contexts = {} as Record<Host, ConnectedContext>;
        const options = (host: Host): Parameters<typeof master.ssh>[0] => ({ host: hosts.address[host]!, username: hosts.login.username, privateKey: new Secret(hosts.privateKey), knownHosts: hosts.knownHosts, sshConfig: false, agent: false, nodePath: hosts.nodePath, name: host });
        for (const [host, from] of Object.entries(TOPOLOGY) as [Host, Host | undefined][]) contexts[host] = master.ssh({ ...options(host), ...(from !== undefined && { via: contexts[from] }) });
        const webapp = (host: Host): ConnectedContext => master.sudo({ username: hosts.service.username, via: contexts[host], nodePath: hosts.nodePath, name: `sudo:${host}:webapp` });
        const [from, to] = [webapp('node22a'), webapp('node12b')];

        // Everything was asked for at once; and each is where it should be.
        expect(await Promise.all([from, to].map((context) => first(context.call(tasks.account))))).toEqual([hosts.service.username, hosts.service.username]);
        expect(await first(contexts.node12b.call(tasks.addresses))).toEqual(['198.18.3.2']);

        const received = first(to.call(post.receive, 5000));
        await first(to.call(post.ready, 5000));
        await first(from.call(post.send, to, 5000, 'hello'));
        expect(await received).toEqual({ text: 'hello', from: from.id });

        // Who has seen the message, once each: its header is traced at each context that it comes through. What they print of
        // that comes here on ways of its own, so in no order; in a tree there is one way through these nine.
        const seen = records.filter(({ message }) => message.includes(`"srcId":${String(from.id)},"dstId":${String(to.id)},"handle":5000,`) && message.includes('[tendril broker]')).map(({ context }) => context);
        expect(seen.sort()).toEqual(['sudo:node22a:webapp', 'node22a', 'rack22', 'dc2', 'bastion', 'dc1', 'rack12', 'node12b', 'sudo:node12b:webapp'].sort());

        // From the other side that host cannot be reached: those have no way to it, and no default route.
        const outsider = master.ssh({ ...options('node12b'), name: 'outsider', via: contexts.rack22 });
        expect(await failure(outsider.connected)).toMatchObject({ code: 'ERR_TENDRIL_UNREACHABLE', message: expect.stringMatching(/^via rack22: /) as unknown });

        // A rack is lost, with all that is behind it; the other goes on.
        await contexts.rack22.shutdown();
        expect(await first(from.closed)).toMatchObject({ reason: 'shutdown' });
        expect(await first(to.call(tasks.add, 1, 2))).toBe(3);
      });
    } finally {
      await hosts.close();
    }
  });
});
