import type { DeadReason } from '../errors.ts';
import type { RouteTable } from './table.ts';

/** What to do with a message. */
export type Decision<P> =
  | { readonly kind: 'deliver' }
  | { readonly kind: 'forward'; readonly peer: P }
  | { readonly kind: 'dead'; readonly reason: DeadReason; readonly text: string }
  | { readonly kind: 'drop'; readonly why: string };

/** The part of a message that routing looks at. */
export interface Envelope {
  readonly srcId: number;
  readonly dstId: number;
}

const DELIVER: Decision<never> = { kind: 'deliver' };

/**
 * Source verification: a message may only come in on the stream that an answer to its source would go out on
 * (seed document, "Source Verification"). `from` is undefined for messages made here.
 */
export function verifySource<P>(table: RouteTable<P>, message: Envelope, from: P | undefined): boolean {
  if (from === undefined) return message.srcId === table.id;
  const expected = message.srcId === table.id ? table.twin : (table.get(message.srcId) ?? table.parent);
  return expected === from;
}

/**
 * The whole of routing for one message, without effects: verify the source, look the destination up, else go up,
 * else it is dead. Messages that came from above never go back up (seed document, "Message Routing").
 */
export function decide<P>(table: RouteTable<P>, message: Envelope, from: P | undefined): Decision<P> {
  if (!verifySource(table, message, from)) return { kind: 'drop', why: `bad src_id: got ${String(message.srcId)} on a stream that does not lead there` };
  if (message.dstId === table.id) return DELIVER;
  const peer = table.get(message.dstId) ?? table.parent;
  if (peer === undefined || peer === from) return { kind: 'dead', reason: 'no-route', text: `no route to ${String(message.dstId)}, my ID is ${String(table.id)}` };
  return { kind: 'forward', peer };
}
