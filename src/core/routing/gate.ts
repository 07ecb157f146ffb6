import type { Message } from '../wire/frame.ts';
import type { Stream } from './stream.ts';

/** What came in from one direct peer, and what became of it. Counts begin with its stream. */
export interface StreamStats {
  /** The context at the other end. */
  readonly id: number;
  /** Messages that came in. */
  readonly frames: number;
  /** Their bytes, headers included. */
  readonly bytes: number;
  /** Messages that went on to another peer. */
  readonly forwarded: number;
  /** Messages that were dropped without an answer, by the reason. */
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** Messages that were not let on to another peer, or not admitted to a handle here. */
  readonly refused: number;
}

/**
 * Why a message was dropped: its source does not lie behind the stream; it announces a route that was not granted, or
 * takes back one that is not the sender's; it asks for more than its sender may have.
 */
export type DropReason = 'bad-source' | 'bad-route' | 'over-quota';

/** What a context that has children puts between its streams. A leaf has none. */
export interface Gate {
  /** Sees what came in, before it is routed. */
  received(batch: readonly Message[], from: Stream): void;
  /** Whether a message may go from one peer to another. If not, the gate has told those concerned. */
  admits(message: Message, from: Stream, to: Stream): boolean;
  /** What each direct peer has sent. */
  stats(): readonly StreamStats[];
}
