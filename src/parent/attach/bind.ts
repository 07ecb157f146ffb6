import { chmodSync, lstatSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  // Only who has the lock removes sockets, so that none is removed that has taken the place of a dead one meanwhile.
  const lock = `${path}.lock`;
  takeLock(lock, path);
  try {
    await refuseLive(path);
    rmSync(path, { force: true });
  } finally {
    rmSync(lock, { force: true });
  }
}

function takeLock(lock: string, path: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx', mode: 0o600 });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new AttachError('ERR_TENDRIL_SOCKET', `cannot replace ${path}, which nobody listens to: ${(error as Error).message}`, { cause: error });
    }
    if (attempt === ATTEMPTS || !isLeftBehind(lock)) throw new AttachError('ERR_TENDRIL_SOCKET_IN_USE', `another process is taking the place of a dead listener at ${path} just now; attach there`);
    rmSync(lock, { force: true });
  }
}

/** Whether the process that made a lock is gone. */
function isLeftBehind(lock: string): boolean {
  try {
    const owner = Number(readFileSync(lock, 'utf8'));
    // It is made and written in two steps.
    if (owner > 0) process.kill(owner, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

async function refuseLive(path: string): Promise<void> {
  let state: SocketState;
  try {
    state = await socketState(path);
  } catch (error) {
    throw new AttachError('ERR_TENDRIL_SOCKET', `cannot find out whether somebody listens at ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (state === 'live') throw new AttachError('ERR_TENDRIL_SOCKET_IN_USE', `somebody listens at ${path} already; attach there, or choose another name`);
}
