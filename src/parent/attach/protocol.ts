import { DecodeError } from '../../core/errors.ts';
import type { Authority } from './listening.ts';

/** Version of this handshake and of what comes behind it. The two ends need not be the same build; this number must be the same. */
export const ATTACH_PROTOCOL = 2;
/** Bytes of the first frame of a process that attaches. */
export const MAX_HELLO = 1024;
/** Milliseconds for it to come. */
export const HELLO_TIMEOUT_MS = 5000;
/** Processes that are connected and have not said their hello. */
export const MAX_WAITING_CLIENTS = 32;
/** Processes that are attached to one listener. */
export const MAX_CLIENTS = 64;
/** Characters of the name that a process gives itself. */
const MAX_NAME = 64;

/** What a process says first. */
export interface Hello {
  readonly protocol: number;
  /** What the process wants to be called. */
  readonly name: string;
}

/** What it is told. */
export interface Welcome {
  readonly protocol: number;
  /** The ID that it has from now on. */
  readonly id: number;
  /** The context that listens, and those above it. */
  readonly listenerId: number;
  readonly parentIds: readonly number[];
  readonly name: string;
  readonly nodeVersion: string;
  /** Whether it is a master, which runs no functions. */
  readonly master: boolean;
  readonly authority: Authority;
  readonly maxMessageSize: number;
  /** The contexts below it; later ones come as ADD_ROUTE, and go as DEL_ROUTE. */
  readonly contexts: readonly (readonly [id: number, name: string])[];
}

/** Checks what a stranger has said. */
export function checkHello(value: unknown): Hello {
  const { protocol, name } = (value ?? {}) as { protocol?: unknown; name?: unknown };
  if (!Number.isInteger(protocol) || typeof name !== 'string' || !/^[\w .:@/-]*$/.test(name) || name.length > MAX_NAME) throw new DecodeError('a hello has a field of the wrong kind');
  return { protocol: protocol as number, name };
}
