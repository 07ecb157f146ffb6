/** What an {@link EdgePolicy} sees of a message: its header. */
export interface EdgeEnvelope {
  /** The context that sent it; verified. */
  readonly srcId: number;
  /** The context that it is for. */
  readonly dstId: number;
  readonly handle: number;
  /** Handle for the answer; 0 when none is wanted, 999 for a dead message. */
  readonly replyTo: number;
}

/**
 * Whether a message may pass from one child of a context to another. Must be pure: it is asked for every message, and
 * the answer to a message is a message of its own, in the other direction.
 *
 * @param from - the child that it came in from: `srcId`, or the context above it
 * @param to - the child that it would go to: `dstId`, or the context above it
 */
export type EdgePolicy = (message: EdgeEnvelope, from: number, to: number) => boolean;

/** Lets nothing pass between children: contexts talk with those above and below them only (Mitogen's unidirectional mode). */
export const unidirectional: EdgePolicy = () => false;
