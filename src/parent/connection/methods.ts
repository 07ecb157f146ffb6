import type { Observable } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { openLocal } from './local.ts';
import type { FirstStage, Transport } from './transport.ts';

/** Opens a connection by one method, with the options of that method and the title of the process. */
export type OpenMethod = (options: Readonly<Record<string, unknown>> & { readonly title: string }, stage: FirstStage, broker: Broker) => Observable<Transport>;

/** The methods that need nothing but this part of the library, by name. */
export const METHODS: ReadonlyMap<string, OpenMethod> = new Map<string, OpenMethod>([['local', openLocal]]);

/** The name of a context that has none of its own: the method, and what it leads to. */
export function defaultName(method: string, options: object): string {
  const { host, username } = options as { readonly host?: unknown; readonly username?: unknown };
  if (typeof host !== 'string') return `${method}.${String(process.pid)}`;
  return `${method}.${typeof username === 'string' ? `${username}@` : ''}${host}`;
}

/** Whether a direct child runs the very Node of this process. A path that leads to it by another name is not worth a look at the disk. */
export function runsThisNode(method: string, { nodePath = process.execPath }: Readonly<Record<string, unknown>>): boolean {
  return method === 'local' && [nodePath].flat().join('\0') === process.execPath;
}
