import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModuleBatch } from '../../src/core/importer/records.ts';
import { decodeValue } from '../../src/core/wire/values.ts';
import { LOAD_MODULE } from '../../src/core/wire/handles.ts';
import { unpackRecords } from '../../src/importer/batch.ts';

/**
 * Runs Node in its place, and writes down what that is sent before it gets it. Where there is a file `mute`, only SHUTDOWN
 * still comes through.
 */
const TAP = `
const fs = require('fs'), net = require('net');
const [, , record, mute, node, ...args] = process.argv;
const child = require('child_process').spawn(node, args, { stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'] });
const down = new net.Socket({ fd: 3, readable: true, writable: false });
const pass = (bytes) => { if (!child.stdio[3].write(bytes)) { down.pause(); child.stdio[3].once('drain', () => down.resume()); } };
// Two blocks of the bootstrap, then frames.
let got = Buffer.alloc(0), blocks = 0;
const whole = () => {
  const head = blocks < 2 ? 4 : 16;
  if (got.length < head) return 0;
  const length = head + got.readUInt32BE(head - 4);
  return got.length < length ? 0 : length;
};
down.on('data', (bytes) => {
  fs.appendFileSync(record, bytes);
  got = got.length > 0 ? Buffer.concat([got, bytes]) : bytes;
  for (let length; (length = whole()) > 0; got = got.subarray(length), blocks++) {
    if (blocks < 2 || !fs.existsSync(mute) || got.readUInt32BE(4) === 106) pass(got.subarray(0, length));
  }
}).on('end', () => child.stdio[3].end()).on('error', () => child.stdio[3].destroy());
child.stdio[3].on('error', () => down.destroy());
child.stdio[4].pipe(fs.createWriteStream('', { fd: 4 })).on('error', () => child.stdio[4].destroy());
child.on('exit', (code, signal) => { if (signal) process.kill(process.pid, signal); else process.exit(code); });
child.on('error', () => process.exit(127));
`;

/** One message that a child was sent. */
export interface TappedFrame {
  readonly handle: number;
  readonly replyTo: number;
  readonly payload: Buffer;
}

/** Sees every byte that a child is sent. */
export interface Tap {
  /** What to run in place of Node. */
  readonly nodePath: readonly string[];
  /** All bytes so far, with those of the bootstrap. */
  bytes(): Buffer;
  /** All messages so far that are whole. */
  frames(): TappedFrame[];
  /** From now on the child hears nothing more but SHUTDOWN. */
  mute(): void;
}

/** @param directory - where the program and its record are put */
export function tap(directory: string, name = 'tap', node: string = process.execPath): Tap {
  const program = join(directory, `${name}.cjs`);
  const record = join(directory, `${name}.bytes`);
  writeFileSync(program, TAP);
  writeFileSync(record, '');
  const mute = join(directory, `${name}.mute`);
  const bytes = (): Buffer => readFileSync(record);
  return {
    nodePath: [process.execPath, program, record, mute, node],
    bytes,
    frames: () => framesOf(bytes()),
    mute: () => {
      writeFileSync(mute, '');
    },
  };
}

function framesOf(bytes: Buffer): TappedFrame[] {
  const frames: TappedFrame[] = [];
  let at = 0;
  for (let block = 0; block < 2; block++) {
    if (bytes.length - at < 4) return frames;
    at += 4 + bytes.readUInt32BE(at);
  }
  while (bytes.length - at >= 16) {
    const end = at + 16 + bytes.readUInt32BE(at + 12);
    if (end > bytes.length) break;
    frames.push({ handle: bytes.readUInt32BE(at + 4), replyTo: bytes.readUInt32BE(at + 8), payload: bytes.subarray(at + 16, end) });
    at = end;
  }
  return frames;
}

/** The IDs of the modules that come in a LOAD_MODULE, in their order; docs/protocol.md describes it. */
export function moduleIds(frame: TappedFrame): string[] {
  if (frame.handle !== LOAD_MODULE) return [];
  const [, answers, packed] = decodeValue(frame.payload) as ModuleBatch;
  // Without answers it is the importer itself.
  return answers === null ? [] : unpackRecords(packed).map(([id]) => id);
}
