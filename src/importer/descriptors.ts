import { dress, fs } from './builtins.ts';

type AnyFunction = (...args: unknown[]) => unknown;
type Callback = (error: Error | null, ...values: unknown[]) => void;

/** An open file of the master's: its whole content, and where the next read begins. */
interface OpenFile {
  readonly bytes: Uint8Array;
  readonly stats: unknown;
  at: number;
}

/** Numbers of descriptors that no system gives. */
const FIRST = 0x4000_0000;

/** Descriptors of files of the master's, which `fs` takes like others. */
export class Descriptors {
  readonly #files = new Map<number, OpenFile>();
  #next = FIRST;

  /** Opens what was read. */
  open(bytes: Uint8Array, stats: unknown): number {
    const fd = this.#next++;
    this.#files.set(fd, { bytes, stats, at: 0 });
    return fd;
  }

  /** As fs.read: how many bytes were copied. A position that is no number goes on where the last read ended. */
  read(fd: number, target: Uint8Array, offset: number, length: number, position: number | bigint | null): number {
    const file = this.#files.get(fd);
    if (file === undefined) throw closed('read');
    const from = typeof position === 'number' || typeof position === 'bigint' ? Number(position) : file.at;
    const part = file.bytes.subarray(Math.max(0, from), Math.max(0, from) + length);
    target.set(part, offset);
    if (from === file.at && typeof position !== 'number' && typeof position !== 'bigint') file.at += part.length;
    return part.length;
  }

  close(fd: number): void {
    if (!this.#files.delete(fd)) throw closed('close');
  }

  /** Puts these descriptors under the functions of `fs` that take one. */
  serve(table: Record<string, AnyFunction>): void {
    const over = (name: string, run: (fd: number, args: unknown[]) => unknown): void => {
      const original = table[name];
      if (original === undefined) return;
      const replacement = function (this: unknown, fd: unknown, ...args: unknown[]): unknown {
        return typeof fd === 'number' && fd >= FIRST ? run(fd, args) : original.call(this, fd, ...args);
      };
      dress(replacement, original);
      table[name] = replacement;
    };
    const file = (fd: number, syscall: string): OpenFile => {
      const found = this.#files.get(fd);
      if (found === undefined) throw closed(syscall);
      return found;
    };
    const readInto = (fd: number, args: unknown[]): { count: number; given: unknown } => {
      const { given, target, offset, length, position } = readArguments(args);
      return { count: this.read(fd, target, offset, length, position), given };
    };
    over('readSync', (fd, args) => readInto(fd, args).count);
    over('read', (fd, args) => {
      later(args.at(-1) as Callback, () => {
      const { count, given } = readInto(fd, args.slice(0, -1));
      return [count, given];
    });
    });
    over('fstatSync', (fd) => file(fd, 'fstat').stats);
    over('fstat', (fd, args) => {
      later(args.at(-1) as Callback, () => [file(fd, 'fstat').stats]);
    });
    over('closeSync', (fd) => { this.close(fd); });
    over('close', (fd, args) => {
      later((args[0] ?? (() => undefined)) as Callback, () => {
      this.close(fd);
      return [];
    });
    });
    over('readFileSync', (fd, [options]) => {
      const { bytes, at } = file(fd, 'read');
      const encoding = typeof options === 'string' ? options : (options as { encoding?: BufferEncoding | null } | undefined)?.encoding;
      const rest = Buffer.from(bytes.subarray(at));
      return encoding == null ? rest : rest.toString(encoding as BufferEncoding);
    });
  }
}

/** The forms that fs.read and fs.readSync have: positions, or an object of options. */
function readArguments(args: unknown[]): { given: unknown; target: Uint8Array; offset: number; length: number; position: number | bigint | null } {
  const [first, second, ...rest] = args;
  const target = (ArrayBuffer.isView(first) ? first : ((first as { buffer?: Uint8Array } | undefined)?.buffer ?? Buffer.alloc(16 * 1024))) as Uint8Array;
  const options = (typeof second === 'object' && second !== null ? second : ArrayBuffer.isView(first) ? undefined : first) as { offset?: number; length?: number; position?: number | bigint | null } | undefined;
  const { offset = 0, length = target.byteLength - offset, position = null } = options ?? { offset: second as number | undefined, length: rest[0] as number | undefined, position: rest[1] as number | null | undefined };
  return { given: target, target: new Uint8Array(target.buffer, target.byteOffset, target.byteLength), offset, length, position };
}

function later(callback: Callback, work: () => unknown[]): void {
  let values: unknown[];
  try {
    values = work();
  } catch (error) {
    process.nextTick(callback, error);
    return;
  }
  process.nextTick(callback, null, ...values);
}

function closed(syscall: string): Error {
  return Object.assign(new Error(`EBADF: bad file descriptor, ${syscall}`), { code: 'EBADF', syscall, errno: -9 });
}

/** Whether a file is to be opened for reading and nothing else. */
export function opensForReading(flags: unknown): boolean {
  if (typeof flags === 'number') return (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_TRUNC | fs.constants.O_APPEND)) === 0;
  return flags === undefined || flags === null || flags === 'r' || flags === 'rs' || flags === 'sr';
}
