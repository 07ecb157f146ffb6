/**
 * Called on bytes that were sent by reference when a link has written them: their owner uses the memory again (docs/decisions.md,
 * D-104). Whoever sends such bytes sends them once.
 */
export const LENT: unique symbol = Symbol.for('tendril.lent') as never;

/** Bytes whose owner wants them back. */
export interface Lent extends Uint8Array {
  [LENT]?(): void;
}
