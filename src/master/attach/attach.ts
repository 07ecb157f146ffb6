import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { isAbsolute } from 'node:path';
import { NodeBroker } from '../../core/broker/node-broker.ts';
import { StreamLink } from '../../core/broker/node-io.ts';
import type { Broker, Link } from '../../core/broker/broker.ts';
import { UsageError } from '../../core/errors.ts';
import { HEADER_LENGTH, IS_DEAD, encodeFrame } from '../../core/wire/frame.ts';
import { deadError, decodeValue, encodeValue } from '../../core/wire/values.ts';
import { AttachError } from '../../parent/attach/attach-error.ts';
import { ATTACH_PROTOCOL } from '../../parent/attach/protocol.ts';
import type { Hello, Welcome } from '../../parent/attach/protocol.ts';
import { checkDirectory, checkPath, pathOfName } from '../../parent/attach/socket-path.ts';
import { checkNames } from '../../parent/option-names.ts';
import type { ModuleOptions } from '../modules/options.ts';
import { AttachedTree } from './attached-tree.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
/** Bytes of what a listener answers: a tree of 65,535 contexts with long names. */
const MAX_WELCOME: number = 32 * 1024 * 1024;

/** Options of {@link attach}. */
export interface AttachOptions {
  /** Name of the socket, as it was given to `listen()`. */
  readonly name?: string;
  /** Path of the socket, in place of `name`. */
  readonly path?: string;
  /** What this process is called in the tree: up to 64 letters, digits, spaces and `._:@/-`. Default: its process ID. */
  readonly as?: string;
  /** Milliseconds until the listener must have answered. Default 10000. */
  readonly timeoutMs?: number;
  /** Which modules of this process contexts get for its calls. Default: all that they lead to. */
  readonly modules?: ModuleOptions;
  /** Time and IO. Default: the real ones. */
  readonly broker?: Broker;
}

/**
 * Joins the tree of a process of this account that listens (`listen()` of a master, or of `router` in a child; Mitogen's
 * `unix.connect`). What may be done there is for the listener to say: docs/detach.md.
 *
 * @param target - the path or the name of the socket, or options
 *
 * Rejects with an AttachError: ERR_TENDRIL_SOCKET_MISSING when there is no socket, ERR_TENDRIL_SOCKET_DEAD when nobody listens
 * there any more, ERR_TENDRIL_SOCKET_UNSAFE when others can get at its directory, ERR_TENDRIL_ATTACH when the listener
 * does not answer as it should.
 */
export async function attach(target: string | AttachOptions): Promise<AttachedTree> {
  const options = typeof target === 'string' ? (isAbsolute(target) ? { path: target } : { name: target }) : target;
  checkNames('attach()', options, ['name', 'path', 'as', 'timeoutMs', 'modules', 'broker'] satisfies (keyof AttachOptions)[]);
  const { name, path: given, timeoutMs = DEFAULT_TIMEOUT_MS, broker = new NodeBroker() } = options;
  if ((name === undefined) === (given === undefined)) throw new UsageError('ERR_TENDRIL_BAD_OPTION', 'say what to attach to: give either name or path');
  const path = checkPath(given ?? pathOfName(name ?? ''));
  checkDirectory(path);
  const socket = await open(path);
  const link = new StreamLink(socket, socket);
  const hello: Hello = { protocol: ATTACH_PROTOCOL, name: options.as ?? String(process.pid) };
  link.write([encodeFrame({ dstId: 0, srcId: 0, handle: 0, replyTo: 0, data: encodeValue(hello).data })]);
  try {
    const { welcome, rest } = await readWelcome(link, path, timeoutMs, broker);
    return new AttachedTree({ broker, link, welcome, first: rest, modules: options.modules ?? {} });
  } catch (error) {
    link.destroy();
    throw error;
  }
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const { code } = error;
      if (code === 'ENOENT') reject(new AttachError('ERR_TENDRIL_SOCKET_MISSING', `there is no ${path}: nobody listens there`, { cause: error }));
      else if (code === 'ECONNREFUSED') reject(new AttachError('ERR_TENDRIL_SOCKET_DEAD', `nobody listens at ${path} any more: the process that did is gone`, { cause: error }));
      else reject(new AttachError('ERR_TENDRIL_SOCKET', `cannot connect to ${path}: ${error.message}`, { cause: error }));
    });
    socket.once('connect', () => {
      socket.pause();
      resolve(socket);
    });
  });
}

/** Reads the one frame that a listener answers with. */
function readWelcome(link: Link, path: string, timeoutMs: number, broker: Broker): Promise<{ welcome: Welcome; rest: Buffer }> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      timer.unsubscribe();
      reading.unsubscribe();
      reject(new AttachError('ERR_TENDRIL_ATTACH', `cannot attach at ${path}: ${why}`));
    };
    const timer = broker.after(timeoutMs, () => {
      fail(`the listener has not answered within ${String(timeoutMs)} ms; raise timeoutMs, or see whether it hangs`);
    });
    const chunks: Uint8Array[] = [];
    let length = 0;
    const reading = link.chunks.subscribe({
      next: (chunk) => {
        chunks.push(chunk);
        length += chunk.length;
        if (length < HEADER_LENGTH) return;
        const head = Buffer.concat(chunks.splice(0));
        const end = HEADER_LENGTH + head.readUInt32BE(HEADER_LENGTH - 4);
        chunks.push(head);
        if (end > MAX_WELCOME) fail('it answers with too much; is it a listener of tendril?');
        else if (length >= end) {
          timer.unsubscribe();
          reading.unsubscribe();
          try {
            const data = head.subarray(HEADER_LENGTH, end);
            if (head.readUInt32BE(8) === IS_DEAD) fail(deadError(data).message);
            else resolve({ welcome: checkWelcome(decodeValue(data)), rest: head.subarray(end) });
          } catch (error) {
            fail((error as Error).message);
          }
        }
      },
      error: (error: unknown) => {
        fail(String(error));
      },
      complete: () => {
        fail('the listener has closed the connection: it is closing, or too many others are waiting there');
      },
    });
  });
}

function checkWelcome(value: unknown): Welcome {
  const { protocol, id, listenerId, parentIds, name, nodeVersion, authority, contexts } = (value ?? {}) as { readonly [Key in keyof Welcome]?: unknown };
  const valid = Number.isInteger(id) && Number.isInteger(listenerId) && Array.isArray(parentIds) && typeof name === 'string' && typeof nodeVersion === 'string' && (authority === 'full' || authority === 'none') && Array.isArray(contexts);
  if (protocol !== ATTACH_PROTOCOL || !valid) throw new Error('its answer is not one of tendril, or of another version of it');
  return value as Welcome;
}
