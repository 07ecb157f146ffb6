import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { ConnectedContext, DropReason } from 'tendril';
import * as tasks from './fixtures/tasks.ts';
import type { Observable } from 'rxjs';
import { DONE, PRELUDE, withProgram } from './support/hostile.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';
import type { Tree } from './support/tree.ts';

/** A hostile context, those that must not be harmed, and the one that it is a child of: the master, or an intermediate. */
interface Siege extends Tree {
  readonly hostile: ConnectedContext;
  readonly sibling: ConnectedContext;
  readonly cousin: ConnectedContext;
  /** Undefined where the hostile context is a child of the master. */
  readonly host: ConnectedContext | undefined;
  readonly directory: string;
}

function routes(tree: Tree): number[] {
  return Array.from({ length: 65_536 }, (_unused, id) => id).filter((id) => tree.master.router.table.get(id) !== undefined);
}

/** Lines of the log that tell of something that a child has done. */
function complaints({ records }: Tree): string[] {
  return records.filter(({ level, logger }) => (level === 'warn' || level === 'error') && logger.startsWith('tendril')).map(({ message }) => message);
}

/** The program gets IDs as HOST, SIBLING and COUSIN, and says DONE by `over()`. In the end those beside it must be well. */
async function besieged(below: 'the master' | 'an intermediate', source: string, test: (siege: Siege) => Promise<void>): Promise<void> {
  const isDirect = below === 'the master';
  const ids = isDirect ? { HOST: 0, COUSIN: 1, SIBLING: 2 } : { HOST: 2, COUSIN: 1, SIBLING: 3 };
  const constants = Object.entries(ids).map(([name, id]) => `const ${name} = ${String(id)};`).join(' ');
  await withProgram(`${PRELUDE}\n${constants} const over = () => log(${JSON.stringify(DONE)}); const many = (count, bytes) => raw(Buffer.concat(Array.from({ length: count }, () => bytes)));\n${source}`, (nodePath, directory) =>
    withTree({ graceMs: 300 }, async (tree) => {
      const { master, logged } = tree;
      const cousin = master.local({ name: 'cousin' });
      const host = isDirect ? undefined : master.local({ name: 'host' });
      const via = host && { via: host };
      const sibling = master.local({ name: 'sibling', ...via });
      expect([await first(cousin.call(tasks.add, 0, 0)), await first(sibling.call(tasks.add, 0, 0))]).toEqual([0, 0]);
      const hostile = master.local({ name: 'hostile', nodePath, ...via });
      await first(hostile.connected);
      const size = () => ({ handles: master.router.handleCount, streams: master.router.streams.size, routes: routes(tree), contexts: master.contexts.map(({ name }) => name), modules: [...master.stats().keys()] });
      const before = size();
      // In whose answers it might meddle.
      const waiting: unknown[] = [];
      const calls = [sibling, cousin].map((context) => context.call(tasks.untilCancelled).subscribe({ next: (value) => waiting.push(value), error: (error) => waiting.push(error) }));
      hostile.call(process.cwd).subscribe({ error: () => undefined });
      await logged(({ message }) => message === DONE);
      const siege = { ...tree, hostile, sibling, cousin, host, directory };
      await test(siege);
      for (const context of [sibling, cousin, ...(host ? [host] : [])]) expect([context.name, await first(context.call(tasks.add, 1, 2))]).toEqual([context.name, 3]);
      expect(waiting).toEqual([]);
      for (const call of calls) call.unsubscribe();
      await hostile.shutdown();
      // Nothing is left of it, and nothing has grown.
      const { handles, streams, routes: known, contexts, ...rest } = before;
      const after = size();
      expect(after).toMatchObject({ ...rest, streams: streams - (isDirect ? 1 : 0), contexts: contexts.filter((name) => name !== 'hostile') });
      expect(after.handles).toBeLessThanOrEqual(handles);
      expect(known).toEqual(expect.arrayContaining(after.routes));
      expect(after.routes).not.toContain(hostile.id);
      expect(existsSync(join(directory, 'executed'))).toBe(false);
    }),
  );
}

/** What a hostile context tries; which offences it is charged with where it is a child of the master, and how often at least. */
const ATTACKS: readonly (readonly [what: string, source: string, charged: Partial<Record<DropReason, number>>])[] = [
  [
    'speaks for its parents, its siblings, and others',
    `const evil = [cbor([null, 'node:fs', null, 'writeFileSync', [DIRECTORY + '/executed', 'x']]), cbor([77, 'x']), cbor(['parts', ['parent']]), hex('0001'), Buffer.alloc(0)];
    for (const src of [0, HOST, COUSIN, SIBLING, 60000]) for (const dst of [0, HOST, COUSIN, SIBLING]) for (let handle = 100; handle < 120; handle++) for (const payload of evil) raw(frame(dst, src, handle, 0x20000000, payload));`,
    { 'bad-source': 2000 },
  ],
  [
    'sends what only parents may send: CONNECT, LOAD_PART, LOAD_MODULE, FORWARD_MODULE, LOAD_RESOURCE, SHUTDOWN, and numbers that nobody answers',
    `const code = require('zlib').deflateRawSync("require('fs').writeFileSync(" + JSON.stringify(DIRECTORY + '/executed') + ", 'x')");
    const request = (viaId) => ({ viaId, id: 70, name: 'x', title: 'x', method: 'local', options: { nodePath: ['/usr/bin/touch', DIRECTORY + '/executed'] }, bootTimeoutMs: 1000, logLevel: 'info', profile: false, contextId: me, handle: 0x20000000 });
    for (const dst of [0, HOST, SIBLING, COUSIN]) {
      for (const viaId of [0, HOST, SIBLING, COUSIN, me]) send(dst, 117, cbor(['connect', request(viaId)]));
      for (const id of [SIBLING, COUSIN, me]) send(dst, 117, cbor(['end', id]));
      send(dst, 116, code);
      for (const profile of ['native', 'rendered', 'x']) { send(dst, 107, cbor([profile, null, Buffer.from(code)])); send(dst, 107, cbor([profile, [['id', '', 'x', 'file:///x']], Buffer.from(code)])); send(dst, 108, cbor([COUSIN, profile, ['file:///etc/passwd']])); }
      send(dst, 113, cbor(['read', '/etc/passwd', null, Buffer.from('x')]));
      for (const handle of [106, 114, 119, 120, 121, 200, 998, 999]) send(dst, handle, cbor([SIBLING, 1]));
    }`,
    {},
  ],
  [
    'asks for what parents need, again and again, and in ways that are not valid',
    `let parts = 0;
    others = ({ handle }) => { if (handle === 116) parts++; if (handle === 118 && parts > 0) { log('parts: ' + parts); others = () => {}; } };
    many(5000, frame(HOST, me, 118, 0, cbor(['parts', ['parent', 'ssh']])));
    for (const payload of [cbor(['id']), cbor(['parts', ['x']]), cbor(['parts', 'parent']), cbor([['parts']]), cbor({}), cbor(null), cbor(['parts', Array(1000).fill('parent')]), cbor(['error', 'x', 'y']), hex('ff'), hex('8265'), Buffer.alloc(0)]) { many(500, frame(HOST, me, 118, 0, payload)); send(0, 118, payload); send(COUSIN, 118, payload); }`,
    {},
  ],
  [
    'announces contexts: others, ancestors, those that were not granted, with impossible IDs and names',
    `for (const id of [0, HOST, COUSIN, SIBLING, me, 100, 65535, 65536, -1, 1.5, NaN, null, 'x', {}]) for (const name of ['x', '\\x1b[31mred\\n', 'x'.repeat(256), 'x'.repeat(257), 5, null]) for (const dst of [0, HOST, COUSIN]) send(dst, 103, cbor([id, name]));
    for (let id = 1; id < 20000; id++) send(HOST, 103, cbor([id, 'flood']));
    send(HOST, 103, cbor([100, 'x'.repeat(10e6)]));`,
    { 'bad-route': 20_000 },
  ],
  [
    'takes back contexts: others, ancestors, itself, and nonsense',
    `for (const id of ['0000', '0001', '0002', '0003', '0004', '0005', 'ffff', '', '00', '000001', '00'.repeat(100000)]) for (const dst of [0, HOST, COUSIN, SIBLING]) { send(dst, 104, hex(id)); send(dst, 104, hex(id), 0x20000000); send(dst, 104, hex(id), 999); }`,
    { 'bad-route': 16 },
  ],
  [
    'asks for all IDs that there are',
    `for (let round = 0; round < 3000; round++) send(HOST, 105, cbor(65535), 0x20000000 + round);
    for (const count of [0, -1, 1.5, 65536, null, 'x', {}, []]) { send(HOST, 105, cbor(count), 0x20000000); send(0, 105, cbor(count)); }
    send(HOST, 105, hex('ff'), 0x20000000);`,
    { 'over-quota': 2000, 'bad-route': 8 },
  ],
  [
    'announces ghosts with IDs that it has been granted, which end with it',
    `others = ({ replyTo, payload }) => {
      if (replyTo === 999) return;
      const ranges = codec.decode(payload);
      for (const [start, end] of ranges) for (let id = start; id < end; id++) { send(HOST, 103, cbor([id, 'ghost ' + id])); raw(frame(0, id, 102, 0, cbor(['', 'info', 'boo']))); }
      log('ghosts'); others = () => {};
    };
    send(HOST, 105, cbor(64), 0x20000000);`,
    {},
  ],
  [
    'answers calls of others, whose handles it guesses',
    `for (let round = 0; round < 50000; round++) { const handle = round < 2000 ? round : 0x10000000 + Math.floor(Math.random() * 0x70000000); for (const dst of [0, SIBLING]) raw(round % 3 === 0 ? frame(dst, me, handle, 999, Buffer.from('error: mine')) : frame(dst, me, handle, 0, cbor(round % 2 ? [0, 'mine'] : ['booted', 'v20.0.0']))); }`,
    {},
  ],
  [
    'tells of connections that it was not asked for',
    `for (const dst of [0, HOST, SIBLING, COUSIN]) for (const report of [['booted', 'v20.0.0'], ['ending', 'lost', null], ['closed', null], ['output', 'stdout', 'x'.repeat(10e5)]]) for (const handle of [117, 118, 1000, 0x20000000]) send(dst, handle, cbor(report), handle);`,
    {},
  ],
  [
    'sends texts of 10 MB wherever texts go',
    `const long = 'x'.repeat(10e6);
    for (const [handle, value] of [[100, ['native', 'id', '', long]], [100, [long, 'id', '', '']], [112, ['read', long]], [103, [5, long]], [105, long], [118, ['parts', [long]]], [118, [long]], [102, [long, 'info', '']], [102, ['', long, '']], [102, ['', 'info', long]], [5000, long], [115, long]]) for (const dst of [0, HOST]) send(dst, handle, cbor(value), 0x20000000);`,
    {},
  ],
];

const KILL = `process.kill(process.pid, 'SIGKILL');`;
/** Marks those who do not answer when they are told to end the context. */
const MUTE = `/* mute */`;
const BOOTED = `report(['booted', 'v20.0.0']);`;

/** What a hostile context does when it is asked to make one (`request`), and what becomes of `connected`. */
const BETRAYALS: readonly (readonly [what: string, source: string, outcome: string])[] = [
  ['dies when it is asked', KILL, 'ERR_TENDRIL_VIA_LOST'],
  ['dies when it has said that it is there', `${BOOTED} ${KILL}`, 'connected'],
  ['dies between its end and that of its process', `${BOOTED} report(['ending', 'lost', null]); ${KILL}`, 'connected'],
  ['dies when it has failed', `report(['ending', 'failed', ['AUTH_FAILED', 'x', 'authentication', '']]); ${KILL}`, 'ERR_TENDRIL_AUTH_FAILED'],
  ['says nothing', MUTE, 'ERR_TENDRIL_CANCELLED'],
  ['says that it is there, and nothing more', BOOTED, 'connected'],
  ['says that it is there three times', `${BOOTED} report(['booted', 'v21.0.0']); ${BOOTED}`, 'connected'],
  ['says that it is there after its end', `report(['ending', 'lost', null]); ${BOOTED} report(['closed', null]); ${BOOTED}`, 'ERR_TENDRIL_CONNECT_EOF'],
  ['says that its process has ended before it has', `report(['closed', null]); ${BOOTED} report(['closed', { code: 0, signal: null }]); report(['ending', 'lost', null]);`, 'connected'],
  ['takes its route back without an end, and does not end it', `${MUTE} ${BOOTED} send(HOST, 104, Buffer.from([id >> 8, id & 255]));`, 'connected'],
  ['announces it again and again', `for (let round = 0; round < 1000; round++) send(HOST, 103, cbor([id, 'again ' + round])); ${BOOTED} for (let round = 0; round < 1000; round++) send(HOST, 103, cbor([id, 'again ' + round]));`, 'connected'],
  ['lets it speak about its own connection', `for (const content of [['booted', 'v1.0.0'], ['ending', 'failed', null], ['closed', null]]) raw(frame(0, id, request.handle, 0, cbor(content)));`, 'ERR_TENDRIL_CANCELLED'],
  ['sends reports that are not valid', `for (const content of [[], null, 'x', 5, ['booted'], ['booted', 5], ['booted', 'x\\x1b[31m'], ['booted', 'v20.0' + '0'.repeat(100)], ['output', 'x', 'y'], ['output', 'stdout', 5], ['ending', 'x', null], ['ending', 'failed', 5], ['ending', 'failed', ['NO_SUCH', 'x', 'transport', '']], ['ending', 'failed', ['AUTH_FAILED', 'x', 'x', '']], ['ending', 'failed', [null, 5, '', '']], ['closed', 5], ['closed', { code: 'x', signal: null }], ['closed', { code: 0, signal: 'rm -rf' }], ['end', id], ['__proto__', {}]]) for (let round = 0; round < 200; round++) report(content); send(0, request.handle, hex('ff')); ${BOOTED}`, 'connected'],
  ['sends output of 10 MB, with control characters', `const long = '\\x1b[31m\\n'.repeat(1e6); for (const stream of ['stdout', 'stderr', 'stdio']) report(['output', stream, long]); ${BOOTED} report(['ending', 'lost', [null, long, '', long]]); report(['closed', null]); report(['output', 'stdout', 'late']);`, 'connected'],
  ['sends a dead message in place of a report', `send(0, request.handle, Buffer.from('error: ' + 'x'.repeat(1e6)), 999); ${BOOTED}`, 'ERR_TENDRIL_VIA_LOST'],
];

describe.each([['the master'], ['an intermediate']] as const)('a hostile child of %s', (below) => {
  watchForLeaks();

  it.each(ATTACKS)('that %s gains nothing', (_what, source, charged) =>
    besieged(below, `calls = () => {\n${source}\nover(); };`, async (siege) => {
      const { master, hostile, cousin, host, records, logged } = siege;
      // The way there and back again: what was sent before has been looked at.
      await first((host ?? cousin).call(tasks.add, 1, 1));
      if (source.includes("log('parts: '")) expect(await logged(({ message }) => message.startsWith('parts: '))).toMatchObject({ message: 'parts: 2' });
      if (source.includes("log('ghosts')")) {
        await logged(({ message }) => message === 'ghosts');
        expect(routes(siege).length).toBeGreaterThan(60);
      }
      if (host === undefined) {
        const { dropped } = master.router.stats().find(({ id }) => id === hostile.id)!;
        const missing = Object.entries(charged).filter(([kind, least]) => dropped[kind as DropReason] < least);
        expect([missing, dropped]).toEqual([[], dropped]);
      }
      // Once for each kind of offence, and a bounded number of other complaints.
      const told = complaints(siege);
      expect(['bad src_id', 'bad route', 'asks for IDs too often'].filter((kind) => told.filter((text) => text.includes(kind)).length > 1)).toEqual([]);
      expect(told.length).toBeLessThanOrEqual(45);
      expect(records.every(({ message, context, logger }) => message.length <= 132_000 && context.length <= 256 && logger.length <= 600)).toBe(true);
      // There are IDs for others.
      const next = master.local({ name: 'next', ...(host && { via: host }) });
      expect(await first(next.call(tasks.add, 2, 2))).toBe(4);
      await next.shutdown();
    }));

  it.each([
    ['announces a frame that is too large', `raw(frame(0, me, 5000, 0, Buffer.alloc(0), 0xffffffff));`],
    ['announces a frame that is too large behind others', `raw(Buffer.concat([frame(0, me, 5001, 0), frame(0, me, 5000, 0, Buffer.alloc(0), 0x08000001)]));`],
    ['ends in the middle of a frame', `raw(frame(0, me, 5000, 0, Buffer.alloc(3), 100)); process.exit(0);`],
    ['ends in the middle of a header', `raw(frame(0, me, 5000, 0).subarray(0, 7)); process.exit(0);`],
    ['sends noise', `raw(require('crypto').randomBytes(16).fill(0xff)); raw(require('crypto').randomBytes(100000));`],
  ])('that %s is lost, alone', (_what, source) =>
    besieged(below, `calls = () => { over(); setImmediate(() => { ${source} }); };`, async ({ hostile }) => {
      expect(await first(hostile.closed)).toMatchObject({ reason: 'lost' });
      expect(await failure(hostile.call(tasks.add, 1, 2))).toMatchObject({ code: 'ERR_TENDRIL_CHANNEL' });
    }));

  it.each(BETRAYALS)('by way of which a context is made, and that %s, is taken no further than that context', (_what, source, outcome) =>
    besieged(below, `others = ({ handle, payload }) => {
      if (handle !== 117) return;
      const [kind, value] = codec.decode(payload);
      if (kind === 'connect') request = value;
      const { id } = request;
      const report = (content) => send(0, request.handle, cbor(content));
      if (kind === 'connect') { ${source}\nlog('betrayed'); }
      // Whoever is told to end it says so, lest the test takes long.
      else if (${String(!source.includes(MUTE))}) { report(['ending', 'shutdown', null]); report(['closed', null]); }
    };
    let request;
    calls = over;`, async ({ master, hostile, records, logged }) => {
      const before = master.router.handleCount;
      const inner = master.local({ name: 'inner', via: hostile });
      const heard: string[] = [];
      const listen = (what: string, source$: Observable<unknown>): void => {
        source$.subscribe({ next: () => heard.push(`${what}: a value`), error: ({ code }: { code: string }) => heard.push(`${what}: ${code}`), complete: () => heard.push(`${what}: the end`) });
      };
      listen('connected', inner.connected);
      listen('closed', inner.closed);
      listen('call', inner.call(tasks.add, 1, 2));
      listen('mailbox', inner.handle(5001));
      if (source.includes('SIGKILL')) await first(inner.closed);
      else await logged(({ message }) => message === 'betrayed');
      // A small message overtakes large ones.
      if (outcome === 'connected') await first(inner.connected);
      await inner.shutdown();
      await first(inner.closed);
      expect(heard.filter((one) => one.startsWith('connected'))).toEqual(outcome === 'connected' ? ['connected: a value', 'connected: the end'] : [`connected: ${outcome}`]);
      expect(heard.filter((one) => one.startsWith('closed'))).toEqual(['closed: a value', 'closed: the end']);
      expect(heard.filter((one) => one.startsWith('call'))).toEqual([expect.stringMatching(/^call: ERR_TENDRIL_/)]);
      expect(heard.filter((one) => one.startsWith('mailbox'))).toEqual([expect.stringMatching(/^mailbox: (ERR_TENDRIL_CHANNEL|the end)$/)]);
      expect(master.router.handleCount).toBeLessThanOrEqual(before);
      expect(master.router.table.get(inner.id)).toBeUndefined();
      expect(master.contexts).not.toContain(inner);
      expect(records.filter(({ level }) => level === 'error').length).toBeLessThanOrEqual(1);
      expect(records.every(({ message }) => message.length <= 70_000)).toBe(true);
      for (const { error } of [await first(inner.closed)]) expect((error?.message ?? '').length).toBeLessThan(9000);
    }));
});
