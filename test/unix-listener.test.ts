import { execFile } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { filter, lastValueFrom, take, toArray } from 'rxjs';
import { AttachError, anyContext, attach } from 'tendril';
import type { AttachedTree, ConnectedContext, RouterEvent } from 'tendril';
import { IS_DEAD } from '../src/core/wire/frame.ts';
import { ADD_ROUTE, ALLOCATE_ID, CALL_FUNCTION, CONNECT, DEL_ROUTE, DETACHING, GET_MODULE, LISTEN, LOAD_PART, PARENTHOOD, SHUTDOWN } from '../src/core/wire/handles.ts';
import { decodeValue } from '../src/core/wire/values.ts';
import { socketState } from '../src/parent/attach/bind.ts';
import { MAX_WAITING_CLIENTS } from '../src/parent/attach/protocol.ts';
import * as outliving from './fixtures/outliving.ts';
import * as tasks from './fixtures/tasks.ts';
import { comesTrue, withSockets } from './support/outlived.ts';
import { needs } from './support/needs.ts';
import { RawClient, helloFrame } from './support/raw-client.ts';
import { SSHD_NEEDS, startSshd } from './support/sshd.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';
import type { Tree } from './support/tree.ts';

/** Runs a test with a master that listens, and a child of it. */
function withListener(test: (path: string, kid: ConnectedContext, tree: Tree) => Promise<void>): () => Promise<void> {
  return withSockets((directory) =>
    withTree({}, async (tree) => {
      const kid = tree.master.local({ name: 'kid' });
      const { path } = await tree.master.listen({ path: join(directory, 'socket') });
      await test(path, kid, tree);
    }),
  );
}

/** Makes a socket that nobody listens to. */
async function makeDead(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.made`, resolve));
  renameSync(`${path}.made`, path);
  await new Promise((resolve) => server.close(resolve));
}

describe('a socket that a master listens at', () => {
  watchForLeaks();

  it(
    'is live, for this account alone, and removed at shutdown (REFERENCE 230, 231, 242)',
    withSockets(async (directory) => {
      const path = join(directory, 'made', 'socket');
      await withTree({}, async ({ master }) => {
        const listener = await master.listen({ path });
        expect(listener.path).toBe(path);
        expect(await socketState(path)).toBe('live');
        expect(await socketState(`${path}2`)).toBe('absent');
        expect([lstatSync(dirname(path)), lstatSync(path)].map(({ mode }) => mode & 0o777)).toEqual([0o700, 0o600]);
        const other = await master.listen({ path: `${path}2` });
        await other.close();
        await other.close();
        expect(existsSync(other.path)).toBe(false);
      });
      expect(existsSync(path)).toBe(false);
    }),
  );

  it(
    'is found by its name, in a directory of this account',
    withSockets(async (directory) => {
      const before = process.env['XDG_RUNTIME_DIR'];
      process.env['XDG_RUNTIME_DIR'] = directory;
      try {
        await withTree({}, async ({ master }) => {
          const { path } = await master.listen({ name: 'fleet' });
          expect(path).toBe(join(directory, `tendril-${String(process.geteuid?.())}`, 'fleet'));
          await (await attach('fleet')).close();
          await (await attach(path)).close();
          await expect(attach({})).rejects.toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
          for (const name of ['', '../x', 'a/b', '.x', 'x'.repeat(65)]) await expect(master.listen({ name })).rejects.toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
          for (const path of ['relative', `/${'x'.repeat(103)}`]) await expect(master.listen({ path })).rejects.toMatchObject({ code: 'ERR_TENDRIL_BAD_OPTION' });
        });
      } finally {
        if (before === undefined) delete process.env['XDG_RUNTIME_DIR'];
        else process.env['XDG_RUNTIME_DIR'] = before;
      }
    }),
  );

  it(
    'takes the place of a dead one, and of no other (REFERENCE 230)',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const path = join(directory, 'socket');
        await makeDead(path);
        expect(await socketState(path)).toBe('dead');
        await expect(attach(path)).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET_DEAD' });
        await master.listen({ path });
        await (await attach(path)).close();
        const error = await master.listen({ path }).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(AttachError);
        expect(error).toMatchObject({ code: 'ERR_TENDRIL_SOCKET_IN_USE' });
        expect(await socketState(path)).toBe('live');
        const file = join(directory, 'file');
        writeFileSync(file, 'precious');
        await expect(master.listen({ path: file })).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET' });
        expect(existsSync(file)).toBe(true);
        // Several at once: one of them gets it.
        const many = join(directory, 'many');
        await makeDead(many);
        const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => master.listen({ path: many })));
        expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
        await (await attach(many)).close();
        expect(existsSync(`${many}.lock`)).toBe(false);
        // The lock of a process that is gone is no reason to wait.
        const left = join(directory, 'left');
        await makeDead(left);
        writeFileSync(`${left}.lock`, '4194305');
        await (await master.listen({ path: left })).close();
      }),
    ),
  );

  it(
    'is neither opened nor attached to where others could get at it (S12)',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const safe = join(directory, 'safe');
        await master.listen({ path: join(safe, 'socket') });
        const unsafe: string[] = [];
        for (const mode of [0o755, 0o770, 0o701, 0o500]) {
          unsafe.push(join(directory, mode.toString(8)));
          mkdirSync(unsafe.at(-1)!);
          chmodSync(unsafe.at(-1)!, mode);
        }
        symlinkSync(safe, join(directory, 'link'));
        writeFileSync(join(directory, 'file'), '');
        unsafe.push(join(directory, 'link'), join(directory, 'file'));
        if (process.geteuid?.() === 0) {
          unsafe.push(join(directory, 'theirs'));
          mkdirSync(unsafe.at(-1)!, { mode: 0o700 });
          chownSync(unsafe.at(-1)!, 12_345, 12_345);
        }
        for (const each of unsafe) {
          await expect(master.listen({ path: join(each, 'socket') })).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET_UNSAFE', message: expect.stringContaining(each) as unknown });
          await expect(attach(join(each, 'socket'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET_UNSAFE' });
        }
        await expect(master.listen({ path: join(directory, 'a', 'b', 'socket') })).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET' });
        await expect(attach(join(directory, 'a', 'b', 'socket'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET_MISSING' });
        await expect(attach(join(safe, 'other'))).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET_MISSING' });
      }),
    ),
  );
});

describe('a process that attaches', () => {
  watchForLeaks();

  it(
    'calls the contexts that are there, as the listener, and has an ID of its own (REFERENCE 232)',
    withListener(async (path, kid, { master }) => {
      const inner = master.local({ name: 'inner', via: kid });
      await first(inner.connected);
      const tree = await attach({ path, as: 'visitor' });
      expect(tree.router.id).toBe(tree.self.id);
      expect(tree.router.parentIds).toEqual([0]);
      expect(tree.listener.id).toBe(0);
      expect(master.router.table.get(tree.self.id)).toBeDefined();
      expect(tree.contexts.map(({ id, name }) => [id, name])).toEqual([[kid.id, 'kid'], [inner.id, 'inner']]);
      const there = tree.context('inner')!;
      expect(await first(there.call(tasks.who))).toMatchObject({ self: inner.id, caller: 0 });
      expect(there.nodeVersion).toBe(process.version);
      expect(await lastValueFrom(there.call(tasks.generated, 2000).pipe(toArray()))).toHaveLength(2000);
      expect(await failure(there.call(tasks.fail, 'no'))).toMatchObject({ name: 'CallError', message: expect.stringContaining('no') as unknown });
      expect(await first(tree.context(kid.id)!.call(os.hostname))).toBe(os.hostname());
      // A sender leads to the process itself.
      const mailbox = tree.self.handle<number>(undefined, { policy: anyContext });
      const numbers = lastValueFrom(mailbox.pipe(take(3), toArray()));
      await first(there.call(tasks.emitTo, mailbox.sender, 3));
      expect(await numbers).toHaveLength(3);
      expect(await failure(tree.listener.call(os.hostname))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      await tree.close();
      expect(await first(tree.closed)).toEqual({ reason: 'shutdown' });
      expect(await failure(there.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect(await first(inner.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'sees contexts come and go',
    withListener(async (path, kid, { master }) => {
      const tree = await attach(path);
      const added = tree.router;
      expect(added.parentIds).toEqual([0]);
      const late = master.local({ name: 'late' });
      await first(late.connected);
      expect(await comesTrue(() => tree.context('late') !== undefined)).toBe(true);
      const seen = tree.context('late')!;
      expect(await first(seen.call(tasks.add, 1, 2))).toBe(3);
      const pending = failure(seen.call(tasks.hang));
      await late.shutdown();
      expect(await first(seen.closed)).toEqual({ reason: 'lost' });
      expect(await pending).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
      expect(tree.contexts.map(({ name }) => name)).toEqual(['kid']);
      await expect(tree.context('kid')!.detach()).rejects.toMatchObject({ code: 'ERR_TENDRIL_ATTACHED' });
      await tree.context('kid')!.shutdown();
      expect(await first(kid.closed)).toMatchObject({ reason: 'lost' });
      await tree.close();
    }),
  );

  it(
    'brings modules of its own, with what they import',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        const { path } = await master.listen({ path: join(directory, 'socket') });
        writeFileSync(join(directory, 'own.mjs'), "import { twice } from './lib.mjs';\nexport const four = () => twice(2);\nexport const computed = async (name) => import('./' + name).then(() => 'loaded', ({ code }) => code);\n");
        writeFileSync(join(directory, 'lib.mjs'), 'export const twice = (number) => 2 * number;\n');
        writeFileSync(join(directory, 'far.mjs'), '');
        writeFileSync(join(directory, 'package.json'), '{"name":"own"}');
        const tree = await attach(path);
        const own = tree.context(kid.id)!.module<{ four(): number; computed(name: string): Promise<string> }>(pathToFileURL(join(directory, 'own.mjs')));
        expect(await first(own.four())).toBe(4);
        // What is computed is asked of the master, which has not sent that package.
        expect(await first(own.computed('far.mjs'))).toMatch(/^ERR_/);
        const missing = tree.context(kid.id)!.module<{ x(): void }>(pathToFileURL(join(directory, 'missing.mjs')));
        expect(await failure(missing.x())).toMatchObject({ code: 'ERR_TENDRIL_MODULE_NOT_FOUND' });
        await tree.close();
      }),
    ),
  );

  it(
    'takes nothing along when it leaves: its calls are cancelled, its handles and its ID given up',
    withListener(async (path, kid, { master }) => {
      await first(kid.call(tasks.add, 1, 2));
      const handles = master.router.handleCount;
      const started = master.self.handle<string>(undefined, { policy: anyContext });
      const tree = await attach(path);
      const starts = lastValueFrom(started.pipe(take(20), toArray()));
      for (let count = 0; count < 20; count++) tree.context('kid')!.call(outliving.untilCancelled, started.sender).subscribe({ error: () => undefined });
      await starts;
      expect(master.router.handleCount).toBeGreaterThanOrEqual(handles + 20);
      await tree.close();
      expect(await comesTrue(() => master.router.handleCount === handles)).toBe(true);
      expect(master.router.table.get(tree.self.id)).toBeUndefined();
      expect(await first(kid.call(outliving.cancellations))).toBe(20);
      // One that unsubscribes cancels, too.
      const other = await attach(path);
      const again = first(started);
      const subscription = other.context('kid')!.call(outliving.untilCancelled, started.sender).subscribe({ error: () => undefined });
      await again;
      subscription.unsubscribe();
      while ((await first(kid.call(outliving.cancellations))) < 21);
      started.close();
      await other.close();
    }),
  );

  it(
    'is not in the way of another one',
    withListener(async (path, kid) => {
      const trees = await Promise.all(Array.from({ length: 4 }, () => attach(path)));
      expect(new Set(trees.map(({ self }) => self.id)).size).toBe(4);
      const sums = await Promise.all(trees.flatMap((tree, index) => Array.from({ length: 50 }, (_unused, number) => first(tree.context('kid')!.call(tasks.add, 1000 * index, number)))));
      expect(sums).toEqual(trees.flatMap((_tree, index) => Array.from({ length: 50 }, (_unused, number) => 1000 * index + number)));
      await trees[0]!.close();
      expect(await first(trees[1]!.context('kid')!.call(tasks.add, 1, 2))).toBe(3);
      await Promise.all(trees.map((tree) => tree.close()));
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'may send to those who admit anyone, and nothing else, where the listener grants no authority',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const kid = master.local({ name: 'kid' });
        await first(kid.call(outliving.echoOn, 7100));
        const { path } = await master.listen({ path: join(directory, 'socket'), authority: 'none' });
        const tree = await attach(path);
        const there = tree.context('kid')!;
        expect(tree.authority).toBe('none');
        expect(await failure(there.call(os.hostname))).toMatchObject({ reason: 'refused-by-policy' });
        const mailbox = tree.self.handle<string>(undefined, { policy: anyContext });
        const answer = first(mailbox);
        there.handle(7100).next([mailbox.sender, 'hi']);
        expect(await answer).toBe('echo hi');
        void there.shutdown();
        expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
        await tree.close();
      }),
    ),
  );

  it(
    'joins a context in a child, and sees that and what is below it only',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const path = join(directory, 'socket');
        const kid = master.local({ name: 'kid' });
        master.local({ name: 'sibling' });
        await first(kid.call(outliving.grow, 'below'));
        await first(kid.call(outliving.listen, { path }));
        const tree = await attach(path);
        expect(tree.listener).toBe(tree.contexts[0]);
        expect(tree.contexts.map(({ name }) => name)).toEqual(['kid', 'below']);
        expect(await first(tree.context('below')!.call(tasks.add, 1, 2))).toBe(3);
        expect(await first(tree.context('kid')!.call(tasks.who))).toMatchObject({ caller: kid.id });
        // While its code hangs it takes others in.
        kid.call(tasks.spin).subscribe({ error: () => undefined });
        const other = await attach(path);
        expect(await first(other.context('below')!.call(tasks.add, 1, 2))).toBe(3);
        await Promise.all([tree.close(), other.close()]);
      }),
    ),
  );

  it(
    'loses the one that it has joined when code there ends the process, which leaves no socket',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const path = join(directory, 'socket');
        const kid = master.local({ name: 'kid' });
        await first(kid.call(outliving.listen, { path }));
        const tree = await attach(path);
        expect(await failure(tree.contexts[0]!.call(tasks.exit, 0))).toBeDefined();
        expect(await first(tree.closed)).toMatchObject({ reason: 'lost' });
        expect(existsSync(path)).toBe(false);
      }),
    ),
  );

  it(
    'is told why it cannot listen, in a child as well; and stops listening',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const path = join(directory, 'socket');
        const kid = master.local({ name: 'kid' });
        await first(kid.call(outliving.listen, { path }));
        expect(await failure(kid.call(outliving.listen, { path }))).toMatchObject({ code: 'ERR_TENDRIL_SOCKET_IN_USE' });
        const tree = await attach(path);
        await first(kid.call(outliving.stopListening));
        expect(await first(tree.closed)).toMatchObject({ reason: 'lost' });
        await expect(attach(path)).rejects.toMatchObject({ code: 'ERR_TENDRIL_SOCKET_MISSING' });
      }),
    ),
  );
});

describe('a hostile process that attaches', () => {
  watchForLeaks();

  it(
    'cannot speak for others, or as a part of the tree',
    withListener(async (path, kid, { master }) => {
      await first(kid.call(outliving.echoOn, 7100));
      const events: RouterEvent[] = [];
      master.router.events.subscribe((event) => events.push(event));
      const raw = await RawClient.attached(path);
      for (const srcId of [0, kid.id, 77, 65_535]) {
        raw.send({ dstId: kid.id, srcId, handle: CALL_FUNCTION, replyTo: 0x2000_0000 }, [null, 'node:process', null, 'exit', [1]]);
        raw.send({ dstId: 0, srcId, handle: DEL_ROUTE, data: Buffer.from([0, kid.id]) });
      }
      const reserved = [ADD_ROUTE, ALLOCATE_ID, CONNECT, DEL_ROUTE, DETACHING, GET_MODULE, LISTEN, LOAD_PART, PARENTHOOD];
      for (const [index, handle] of reserved.entries()) for (const dstId of [0, kid.id]) raw.send({ dstId, handle, replyTo: 0x2000_0001 + 2 * index + (dstId === 0 ? 0 : 1) }, [kid.id, 'x']);
      for (let index = 0; index < 2 * reserved.length; index++) {
        const dead = await raw.next(({ handle }) => handle === 0x2000_0001 + index);
        expect([dead.replyTo, String(Buffer.from(dead.data))]).toEqual([IS_DEAD, expect.stringMatching(/^refused-by-policy/)]);
      }
      expect(events.filter((event) => event.type === 'message-dropped' && event.reason === 'bad-source')).toHaveLength(8);
      expect(master.router.stats().find(({ id }) => id === raw.id)).toMatchObject({ dropped: { 'bad-source': 8 }, refused: 2 * reserved.length });
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
      // What it may send goes out under the ID of the listener.
      raw.send({ dstId: kid.id, handle: CALL_FUNCTION, replyTo: 0x2100_0000 }, [null, 'node:os', null, 'hostname', []]);
      const reply = await raw.next(({ handle }) => handle === 0x2100_0000);
      expect([reply.srcId, decodeValue(reply.data)]).toEqual([kid.id, [0, os.hostname()]]);
      raw.socket.destroy();
      await raw.closed();
    }),
  );

  it(
    'is not waited for long, and not listened to for much',
    withListener(async (path, kid, { master }) => {
      const long = Buffer.alloc(16);
      long.writeUInt32BE(0xffff_ffff, 12);
      for (const bytes of [long, Buffer.alloc(4096, 0xff), helloFrame(null), helloFrame('hello'), helloFrame({ protocol: 'x', name: 1 }), helloFrame({ protocol: 1, name: '\n' }), helloFrame({ protocol: 1, name: 'x'.repeat(65) })]) {
        const raw = new RawClient(path);
        raw.socket.write(bytes);
        await raw.closed();
        expect(raw.received).toEqual([]);
      }
      const other = new RawClient(path);
      other.socket.write(helloFrame({ protocol: 3, name: '' }));
      const told = await other.next(() => true);
      expect([told.replyTo, String(Buffer.from(told.data))]).toEqual([IS_DEAD, expect.stringContaining('version 2')]);
      other.socket.destroy();
      // Those who say nothing take up places, for five seconds; one more is turned away at once, and then there is room again.
      const silent = Array.from({ length: MAX_WAITING_CLIENTS + 1 }, () => new RawClient(path));
      await Promise.race(silent.map((each) => each.closed()));
      for (const each of silent) each.socket.destroy();
      let tree: AttachedTree | undefined;
      for (let turn = 0; turn < 200 && tree === undefined; turn++) tree = await attach(path).catch(() => undefined);
      expect(await first(tree!.context('kid')!.call(tasks.add, 1, 2))).toBe(3);
      await tree!.close();
      expect(master.router.streams.size).toBe(1);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'leaves nothing at whatever moment it dies',
    withListener(async (path, kid, { master }) => {
      await first(kid.call(tasks.add, 1, 2));
      const handles = master.router.handleCount;
      const hello = helloFrame();
      for (let length = 0; length <= hello.length; length += 7) {
        const raw = new RawClient(path);
        raw.socket.end(hello.subarray(0, length));
        await raw.closed();
      }
      for (let count = 0; count < 10; count++) {
        const raw = await RawClient.attached(path);
        for (let call = 0; call <= count; call++) raw.send({ dstId: kid.id, handle: CALL_FUNCTION, replyTo: 0x2000_0000 + call }, [null, 'node:timers/promises', null, 'setTimeout', [100_000]]);
        if (count % 2 === 0) raw.socket.write(hello.subarray(0, 11));
        raw.socket.destroy();
        await raw.closed();
      }
      expect(await comesTrue(() => master.router.handleCount === handles && master.router.streams.size === 1)).toBe(true);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'is disconnected when it does not read, and refused when it has too many calls under way',
    withListener(async (path, kid, { master }) => {
      const handles = master.router.handleCount;
      const deaf = await RawClient.attached(path);
      deaf.socket.pause();
      const gone = first(master.router.events.pipe(filter((event) => event.type === 'stream-closed' && event.id === deaf.id)));
      for (let call = 0; call < 14; call++) deaf.send({ dstId: kid.id, handle: CALL_FUNCTION, replyTo: 0x2000_0000 + call }, [null, 'node:buffer', 'Buffer', 'alloc', [8 * 1024 * 1024]]);
      await gone;
      await deaf.closed();
      const greedy = await RawClient.attached(path);
      for (let call = 0; call < 16_400; call++) greedy.send({ dstId: kid.id, handle: CALL_FUNCTION, replyTo: 0x2000_0000 + call }, [null, 'node:timers/promises', null, 'setTimeout', [100_000]]);
      const dead = await greedy.next(({ replyTo }) => replyTo === IS_DEAD);
      expect(dead.handle).toBe(0x2000_0000 + 16_384);
      // Conversations make room for each other.
      const talker = await RawClient.attached(path);
      for (let number = 0; number < 16_500; number++) talker.send({ dstId: kid.id, handle: 5000, replyTo: 0x2000_0000 + number }, 'hi');
      talker.send({ dstId: kid.id, handle: CALL_FUNCTION, replyTo: 0x3000_0000 }, [null, 'node:os', null, 'hostname', []]);
      await talker.next(({ handle }) => handle === 0x3000_0000);
      for (const raw of [greedy, talker]) {
        raw.socket.destroy();
        await raw.closed();
      }
      expect(await comesTrue(() => master.router.handleCount === handles)).toBe(true);
      expect(await first(kid.call(tasks.add, 1, 2))).toBe(3);
    }),
  );

  it(
    'does not keep a context that it has joined from ending in order',
    withSockets((directory) =>
      withTree({}, async ({ master }) => {
        const path = join(directory, 'socket');
        const kid = master.local({ name: 'kid' });
        await first(kid.call(outliving.listen, { path }));
        const raw = await RawClient.attached(path);
        await kid.shutdown();
        expect(await first(kid.closed)).toMatchObject({ reason: 'shutdown', exit: { signal: 'SIGTERM' } });
        await raw.next(({ handle }) => handle === SHUTDOWN);
        await raw.closed();
        expect(existsSync(path)).toBe(false);
      }),
    ),
  );

  it(
    'that pretends to be a listener is not waited for',
    withSockets(async (directory) => {
      const path = join(directory, 'socket');
      const answers = [Buffer.alloc(0), Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), helloFrame({ protocol: 1 })];
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.write(answers.shift() ?? '');
        socket.resume();
      });
      await new Promise<void>((resolve) => server.listen(path, resolve));
      for (let count = 0; count < 3; count++) await expect(attach({ path, timeoutMs: 300 })).rejects.toMatchObject({ code: 'ERR_TENDRIL_ATTACH' });
      await new Promise((resolve) => server.close(resolve));
      if (existsSync(path)) unlinkSync(path);
    }),
  );
});

needs(...SSHD_NEEDS)('another account', () => {
  it(
    'cannot connect to the socket',
    withListener(async (path) => {
      const sshd = await startSshd({ accounts: [{ name: 'other', shell: '/bin/sh' }] });
      try {
        const { uid, gid } = sshd.accounts.other;
        const run = promisify(execFile);
        const { stdout } = await run(process.execPath, [fileURLToPath(new URL('fixtures/attach-as.mjs', import.meta.url)), path, String(uid), String(gid)]);
        expect(JSON.parse(stdout)).toEqual(['ERR_TENDRIL_SOCKET_UNSAFE']);
        const script = `process.setgroups([]);process.setgid(${String(gid)});process.setuid(${String(uid)});require('net').connect(process.argv[1]).on('connect',()=>console.log('in')).on('error',(e)=>console.log(e.code))`;
        expect((await run(process.execPath, ['-e', script, path])).stdout).toBe('EACCES\n');
      } finally {
        await sshd.close();
      }
    }),
  );
});
