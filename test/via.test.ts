import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { lastValueFrom, take, tap, toArray } from 'rxjs';
import { ConnectError, Secret } from 'tendril';
import type { ConnectedContext, Master } from 'tendril';
import { generateKeyPair, startSshServer } from 'tendril/testing';
import * as tasks from './fixtures/tasks.ts';
import { ended, failure, first, startedProcesses, watchForLeaks, withTree } from './support/tree.ts';

/** A chain of local contexts, each made by the one before it, all of them at once. */
function chain(master: Master, depth: number): ConnectedContext[] {
  const contexts: ConnectedContext[] = [];
  for (let level = 1; level <= depth; level++) contexts.push(master.local({ name: `level${String(level)}`, ...(level > 1 && { via: contexts[level - 2]! }) }));
  return contexts;
}

describe('a context by way of another', () => {
  watchForLeaks();

  it('can be called before anything of the chain is connected', () =>
    withTree({}, async ({ master }) => {
      const contexts = chain(master, 4);
      const last = contexts[3]!;
      expect(await first(last.call(tasks.add, 1, 2))).toBe(3);
      expect(last.nodeVersion).toBe(process.version);
      expect(last.via).toBe(contexts[2]);
      // Each is the child of the one before it.
      const pids = await Promise.all(contexts.map((context) => first(context.call(tasks.whereAmI))));
      const parents = await Promise.all(contexts.map((context) => first(context.call(tasks.parentPid))));
      expect(parents.slice(1)).toEqual(pids.slice(0, -1).map(({ pid }) => pid));
      expect(await lastValueFrom(last.call(tasks.generated, 300).pipe(toArray()))).toHaveLength(300);
    }));

  it('can be ten deep', () =>
    withTree({}, async ({ master }) => {
      const contexts = chain(master, 10);
      expect(await first(contexts[9]!.call(tasks.add, 20, 22))).toBe(42);
      await first(contexts[9]!.call(tasks.print));
    }));

  it('has the limits of its master, and its logs arrive (REFERENCE 19, 20)', () =>
    withTree({ maxMessageSize: 1024 * 1024 }, async ({ master, logged }) => {
      const [, , third] = chain(master, 3) as [ConnectedContext, ConnectedContext, ConnectedContext];
      await first(third.call(tasks.print));
      expect(await logged(({ message }) => message === 'to stdout')).toMatchObject({ context: 'level3', stream: 'stdout' });
      await first(third.call(tasks.subprocess, 'echo raw'));
      expect(await logged(({ message }) => message === 'raw')).toMatchObject({ context: 'level3' });
      expect(await failure(third.call(tasks.bytes, 2 * 1024 * 1024))).toMatchObject({ message: expect.stringContaining('1048576') as unknown });
    }));

  it('runs calls in the order in which they were made, also those from before it was there', () =>
    withTree({}, async ({ master }) => {
      const [, second] = chain(master, 2) as [ConnectedContext, ConnectedContext];
      const seen: number[] = [];
      const calls = Array.from({ length: 200 }, (_unused, value) => first(second.call(tasks.identity<number>, value).pipe(tap((answer) => seen.push(answer)))));
      await second.connected.pipe(take(1)).forEach(() => calls.push(first(second.call(tasks.identity<number>, 200).pipe(tap((answer) => seen.push(answer))))));
      await Promise.all(calls);
      expect(seen).toEqual(Array.from({ length: 201 }, (_unused, value) => value));
    }));

  it('costs one message down for a call, once its module is there', () =>
    withTree({}, async ({ master }) => {
      const [one, , three] = chain(master, 3) as [ConnectedContext, ConnectedContext, ConnectedContext];
      await first(three.call(tasks.add, 1, 1));
      const before = [one, three].map((context) => context.stats().sent!.messages);
      for (let call = 0; call < 10; call++) await first(three.call(tasks.add, call, 1));
      expect([one, three].map((context, at) => context.stats().sent!.messages - before[at]!)).toEqual([0, 10]);
    }));

  it('goes on while user code of those on the way spins', () =>
    withTree({}, async ({ master }) => {
      const [one, two, three] = chain(master, 3) as [ConnectedContext, ConnectedContext, ConnectedContext];
      await first(three.call(tasks.add, 1, 1));
      for (const context of [one, two]) context.call(tasks.spin).subscribe({ error: () => undefined });
      expect(await first(three.call(tasks.add, 1, 2))).toBe(3);
      // The next one is made by way of one that hangs.
      const four = master.local({ via: two });
      expect(await first(four.call(tasks.add, 2, 2))).toBe(4);
    }));

  it('is made by one that hangs before it has ever had a child', () =>
    withTree({}, async ({ master }) => {
      const one = master.local();
      await first(one.connected);
      one.call(tasks.spin).subscribe({ error: () => undefined });
      const two = master.local({ via: one });
      expect(await first(two.call(os.hostname))).toBe(os.hostname());
    }));

  it('is served modules that the one on the way has had before, and those that it has not (REFERENCE 244)', () =>
    withTree({}, async ({ master }) => {
      const one = master.local();
      expect(await first(one.call(tasks.add, 1, 2))).toBe(3);
      const before = master.stats().get(one.id);
      const two = master.local({ via: one });
      expect(await first(two.call(tasks.add, 1, 2))).toBe(3);
      // Nothing has crossed the first link a second time.
      expect(master.stats().get(one.id)).toMatchObject({ bytes: before?.bytes, loads: before?.loads, requests: 0 });
      await expect(first(two.call(os.uptime))).resolves.toBeGreaterThan(0);
    }));

  it('ends when it is shut down, and nothing else does (REFERENCE 30, 134)', () =>
    withTree({}, async ({ master }) => {
      const [one, two, three] = chain(master, 3) as [ConnectedContext, ConnectedContext, ConnectedContext];
      const { pid } = await first(three.call(tasks.whereAmI));
      const pending = failure(three.call(tasks.hang));
      await three.shutdown();
      expect(await first(three.closed)).toMatchObject({ reason: 'shutdown', exit: { signal: 'SIGTERM' } });
      expect(() => process.kill(pid, 0)).toThrow();
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect(await failure(three.call(tasks.add, 1, 2))).toMatchObject({ code: expect.stringMatching(/CHANNEL|SHUTDOWN/) as unknown });
      expect(await first(two.call(tasks.add, 1, 2))).toBe(3);
      expect(await first(one.call(tasks.add, 1, 2))).toBe(3);
      expect(master.contexts).toEqual([one, two]);
    }));

  it('ends with the one on the way to it, when that is shut down (REFERENCE 138)', () =>
    withTree({}, async ({ master }) => {
      const [one, , three] = chain(master, 3) as [ConnectedContext, ConnectedContext, ConnectedContext];
      await first(three.connected);
      await first(three.call(tasks.add, 1, 2));
      const pending = failure(three.call(tasks.hang));
      const mailbox = lastValueFrom(three.handle(5001), { defaultValue: undefined });
      await one.shutdown();
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL', reason: 'respondent-gone' });
      expect(await first(three.closed)).toMatchObject({ reason: 'shutdown', exit: { signal: 'SIGTERM' } });
      await mailbox;
      expect(master.contexts).toEqual([]);
      expect(startedProcesses()).toEqual([]);
    }));

  it.each([[1], [2]])('is lost when number %i on the way is killed', (number) =>
    withTree({}, async ({ master }) => {
      const contexts = chain(master, 3);
      const three = contexts[2]!;
      const pids = await Promise.all(contexts.map(async (context) => (await first(context.call(tasks.whereAmI))).pid));
      const pending = failure(three.call(tasks.hang));
      process.kill(pids[number - 1]!, 'SIGKILL');
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect(await first(three.closed)).toMatchObject({ reason: 'lost' });
      const later = master.local({ via: three });
      expect(await failure(later.connected)).toMatchObject({ code: 'ERR_TENDRIL_VIA_LOST' });
      expect(await failure(later.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_VIA_LOST' });
      for (const pid of pids.slice(number - 1)) await ended(pid);
    }),
  );

  it('fails with the error of the one that starts it, named (REFERENCE 132)', () =>
    withTree({}, async ({ master }) => {
      const one = master.local({ name: 'bastion' });
      const two = master.local({ name: 'inner', via: one, nodePath: '/nonexistent/node' });
      const three = master.local({ name: 'innermost', via: two });
      const error = await failure(two.connected);
      await first(two.closed);
      expect(master.router.stats().map(({ dropped }) => dropped['bad-route'])).toEqual([0]);
      expect(error).toBeInstanceOf(ConnectError);
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING', phase: 'command', message: expect.stringContaining('via bastion: cannot start /nonexistent/node') as unknown });
      expect(await failure(three.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_VIA_LOST' });
      expect(await first(two.closed)).toMatchObject({ reason: 'failed' });
      expect(await first(one.call(tasks.add, 1, 2))).toBe(3);
    }));

  it('that does not boot in time is ended, and says so (REFERENCE 130, 132)', () =>
    withTree({}, async ({ master }) => {
      const one = master.local();
      const two = master.local({ via: one, bootTimeoutMs: 300, nodePath: ['/bin/sh', '-c', 'sleep 60', '--'] });
      expect(await failure(two.connected)).toMatchObject({ code: 'ERR_TENDRIL_CONNECT_TIMEOUT' });
      expect(await first(two.closed)).toMatchObject({ reason: 'failed' });
      expect(startedProcesses().filter((line) => line.includes('sleep'))).toEqual([]);
    }));

  it('is cancelled by a shutdown while the chain connects (REFERENCE 126)', () =>
    withTree({}, async ({ master }) => {
      const contexts = chain(master, 3);
      const errors = contexts.map((context) => failure(context.connected));
      await master.shutdown();
      for (const error of await Promise.all(errors)) expect(error).toMatchObject({ code: expect.stringMatching(/CANCELLED|VIA_LOST/) as unknown });
    }));

  it('is reached over ssh by one that got ssh2 from the master', async () => {
    const keys = await generateKeyPair('ed25519');
    const server = await startSshServer({ users: { u: { publicKeys: [keys.publicKey] } } });
    const directory = mkdtempSync(join(os.tmpdir(), 'tendril-via-'));
    try {
      const knownHosts = join(directory, 'known_hosts');
      writeFileSync(knownHosts, `${server.knownHostsLine}\n`);
      await withTree({}, async ({ master }) => {
        const options = { host: server.host, port: server.port, username: 'u', privateKey: new Secret(keys.privateKey), knownHosts, sshConfig: false, agent: false, nodePath: process.execPath } as const;
        const one = master.local({ name: 'bastion' });
        const web = master.ssh({ ...options, via: one });
        const inner = master.ssh({ ...options, via: web });
        expect(await first(inner.call(tasks.add, 1, 2))).toBe(3);
        expect(inner.name).toBe(`${web.name}.ssh.u@127.0.0.1.${String(inner.id)}`);
        const wrong = master.ssh({ ...options, via: one, knownHosts: '/nonexistent/known_hosts' });
        expect(await failure(wrong.connected)).toMatchObject({ code: 'ERR_TENDRIL_HOST_KEY_UNKNOWN', message: expect.stringMatching(/^via bastion: /) as unknown });
        await inner.shutdown();
        expect(await first(web.call(tasks.add, 1, 2))).toBe(3);
      });
    } finally {
      await server.close();
      rmSync(directory, { recursive: true });
    }
  });

  it('must be given a context of the same master', () =>
    withTree({}, ({ master }) =>
      withTree({}, async ({ master: another }) => {
        const [one, other] = [master.local(), another.local()];
        // Both masters number from 1.
        expect(other.id).toBe(one.id);
        for (const via of [other, 'bastion', null, 5]) expect(() => master.local({ via } as never)).toThrow(expect.objectContaining({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining('the option via must be a context of this master') as unknown }) as never);
        expect(await first(master.local({ via: master.self }).call(tasks.parentPid))).toBe(process.pid);
      }),
    ));

  it('gets options that can be sent only', () =>
    withTree({}, async ({ master }) => {
      const one = master.local();
      const web = master.ssh({ host: 'nowhere', via: one, keyboardInteractive: () => [] });
      expect(await failure(web.connected)).toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION', message: expect.stringContaining('keyboardInteractive') as unknown });
      expect(await first(one.call(tasks.add, 1, 2))).toBe(3);
    }));
});
