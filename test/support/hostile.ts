import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import type { ConnectedContext, MasterOptions } from 'tendril';
import * as tasks from '../fixtures/tasks.ts';
import { first, withTree } from './tree.ts';
import type { Tree } from './tree.ts';

/**
 * What every hostile child begins with: it plays the part of Node and of the core by hand. It boots as docs/protocol.md
 * says, then `attack(me)` runs; `calls` is told of each CALL_FUNCTION, `others` of what else comes.
 */
export const PRELUDE = `
const fs = require('fs'), net = require('net');
const { Encoder, Tag } = require(${JSON.stringify(createRequire(import.meta.url).resolve('cbor-x'))});
const codec = new Encoder({ useRecords: false, tagUint8Array: false });
const raw = (bytes) => { for (let at = 0; at < bytes.length;) { try { at += fs.writeSync(4, bytes, at); } catch (e) { if (e.code !== 'EAGAIN') process.exit(0); } } };
const frame = (dst, src, handle, replyTo, payload = Buffer.alloc(0), length = payload.length) => {
  const head = Buffer.alloc(16);
  head.writeUInt16BE(dst, 0); head.writeUInt16BE(src, 2); head.writeUInt32BE(handle, 4); head.writeUInt32BE(replyTo, 8); head.writeUInt32BE(length, 12);
  return Buffer.concat([head, payload]);
};
const hex = (text) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const cbor = (value) => Buffer.from(codec.encode(value));
// What is larger than a frame may be goes in fragments, as docs/protocol.md says.
const fragment = (dst, handle, payload, continues, more, replyTo = 0) => frame(dst, me, handle, replyTo, payload, payload.length + (continues ? 2 ** 30 : 0) + (more ? 2 ** 31 : 0));
const frames = (dst, handle, payload, replyTo = 0) => {
  if (payload.length <= 65520) return frame(dst, me, handle, replyTo, payload);
  const all = Buffer.concat([Buffer.alloc(4), payload]);
  all.writeUInt32BE(payload.length);
  const pieces = [];
  for (let at = 0; at < all.length; at += 65520) pieces.push(fragment(dst, handle, all.subarray(at, at + 65520), at > 0, at + 65520 < all.length, replyTo));
  return Buffer.concat(pieces);
};
const send = (dst, handle, payload, replyTo) => raw(frames(dst, handle, payload, replyTo));
const log = (text, logger = '') => send(0, 102, cbor([logger, 'info', text]));
// Whatever happens to the test, this is over some time.
setTimeout(() => process.kill(process.pid, 'SIGKILL'), 20000);
let me, calls = () => {}, others = () => {}, attack = () => {};
const unfinished = new Map();
let got = Buffer.alloc(0), state = 0, skip = 0;
const eat = (count) => { const part = got.subarray(0, count); got = got.subarray(count); return part; };
const reader = new net.Socket({ fd: 3, readable: true, writable: false });
reader.on('data', (bytes) => {
  got = Buffer.concat([got, bytes]);
  for (;;) {
    if (state === 0 || state === 2) { if (got.length < 4) return; skip = eat(4).readUInt32BE(0); state++; }
    else if (state === 1 || state === 3) { if (got.length < skip) return; eat(skip); state++; }
    else {
      if (got.length < 16 || got.length < 16 + (got.readUInt32BE(12) & 0x3fffffff)) return;
      const length = got.readUInt32BE(12) & 0x3fffffff, part = got[12] >> 6;
      const head = eat(16), source = head.readUInt32BE(2) + ' ' + head.readUInt32BE(4);
      let payload = Buffer.from(eat(length));
      if (part > 0) {
        payload = Buffer.concat([unfinished.get(source) ?? Buffer.alloc(0), part & 1 ? payload : payload.subarray(4)]);
        if (part & 2) { unfinished.set(source, payload); continue; }
        unfinished.delete(source);
      }
      const message = { src: head.readUInt16BE(2), handle: head.readUInt32BE(4), replyTo: head.readUInt32BE(8), payload };
      if (state === 4) { state = 5; me = head.readUInt16BE(0); raw(Buffer.from('EC1;')); attack(me); }
      else if (message.handle === 106 && message.replyTo !== 999) process.exit(0);
      else if (message.handle === 101) calls(message);
      else others(message);
    }
  }
}).on('end', () => process.exit(0)).on('error', () => process.exit(0));
raw(Buffer.from('EC0 ' + process.version + ';'));
`;

/** The end of an attack: what the child sent before it has been handled when this record is there. */
export const DONE = 'the attack is over';

export interface Attack extends Tree {
  readonly honest: ConnectedContext;
  readonly hostile: ConnectedContext;
  readonly done: () => Promise<unknown>;
}

/** A program that is run in place of Node, given as source. */
export async function withProgram(source: string, test: (nodePath: readonly string[], directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-hostile-'));
  try {
    const path = join(directory, 'hostile.cjs');
    writeFileSync(path, source.replaceAll('DIRECTORY', JSON.stringify(directory)));
    await test([process.execPath, path], directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Runs a test with an honest child (context 1) and a hostile one (context 2); in the end the honest one must be well. */
export function attacked(source: string, test: (attack: Attack, directory: string) => Promise<void>, options: MasterOptions = {}): () => Promise<void> {
  return () =>
    withProgram(`${PRELUDE}\n${source}`, (nodePath, directory) =>
      withTree({ graceMs: 300, ...options }, async (tree) => {
        const honest = tree.master.local({ name: 'honest' });
        await first(honest.call(tasks.add, 0, 0));
        const hostile = tree.master.local({ name: 'hostile', nodePath });
        await first(hostile.connected);
        await test({ ...tree, honest, hostile, done: () => tree.logged(({ message }) => message === DONE) }, directory);
        expect(await first(honest.call(tasks.add, 1, 2))).toBe(3);
      }),
    );
}
