import { chmodSync, lstatSync, renameSync, unlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { AttachError } from './attach-error.ts';

/** How often a path that others bind at the same time is tried. */
const ATTEMPTS = 5;

/** Whether somebody listens at a path (REFERENCE 230): `dead` is a socket that nobody listens to any more. */
export type SocketState = 'live' | 'dead' | 'absent';

/** Looks by connecting. Rejects with the error of the operating system when it cannot tell. */
export function socketState(path: string): Promise<SocketState> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve('live');
    });
    socket.once('error', ({ code, ...error }: NodeJS.ErrnoException) => {
      if (code === 'ENOENT') resolve('absent');
      else if (code === 'ECONNREFUSED') resolve('dead');
      // Its queue is full, so somebody has one.
      else if (code === 'EAGAIN') resolve('live');
      else reject(Object.assign(new Error(`connect ${String(code)} ${path}`), error, { code }));
    });
  });
}

/** Listens at a path, in the place of a listener that is gone. Nobody but this account can connect. */
export async function bind(path: string, onSocket: (socket: Socket) => void): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    try {
      const server = await listen(path, onSocket);
      // The directory keeps others out until this is done.
      chmodSync(path, 0o600);
      return server;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt === ATTEMPTS) throw new AttachError('ERR_TENDRIL_SOCKET', `cannot listen at ${path}: ${(error as Error).message}`, { cause: error });
    }
    await removeDead(path);
  }
}

function listen(path: string, onSocket: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, onSocket);
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      // What a single connection fails with must not end the process.
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

/** Removes a socket that nobody listens to. Throws when somebody does, or when it is none. */
async function removeDead(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) throw new AttachError('ERR_TENDRIL_SOCKET', `${path} is there, and is not a socket; remove it, or choose another path`);
  await refuseLive(path, path);
  // Another process may put a live one in its place just now: what is looked at once more is what is removed.
  const aside = `${path}.${String(process.pid)}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new AttachError('ERR_TENDRIL_SOCKET', `cannot replace ${path}, which nobody listens to: ${(error as Error).message}`, { cause: error });
  }
  try {
    await refuseLive(aside, path);
  } catch (error) {
    renameSync(aside, path);
    throw error;
  }
  unlinkSync(aside);
}

async function refuseLive(at: string, path: string): Promise<void> {
  let state: SocketState;
  try {
    state = await socketState(at);
  } catch (error) {
    throw new AttachError('ERR_TENDRIL_SOCKET', `cannot find out whether somebody listens at ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (state === 'live') throw new AttachError('ERR_TENDRIL_SOCKET_IN_USE', `somebody listens at ${path} already; attach there, or choose another name`);
}
