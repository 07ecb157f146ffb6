import type { Rate } from '../../core/config.ts';
import { RateLimit } from '../../core/log/rate-limit.ts';
import type { DropReason, Gate, StreamStats } from '../../core/routing/gate.ts';
import type { Router, RouterEvent } from '../../core/routing/router.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { CONTINUES, HEADER_LENGTH, IS_DEAD, MORE, payloadLength } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { FORWARD_LOG } from '../../core/wire/handles.ts';
import { TokenBucket } from '../token-bucket.ts';
import type { EdgePolicy } from './edge-policy.ts';

/** How an offence of a peer is told again: once for all that it does within so many milliseconds. */
const BURST_MS = 10_000;
/** Offences of all peers together that are told within that time. */
const MAX_TOLD = 20;

/** What is counted of one direct peer. */
class Counters {
  readonly id: number;
  frames = 0;
  bytes = 0;
  forwarded = 0;
  refused = 0;
  readonly dropped: Record<DropReason, number> = { 'bad-source': 0, 'bad-route': 0, 'over-quota': 0 };
  readonly logs: TokenBucket;
  /** By the kind of the offence: whether to tell it, and how many were not told since. */
  readonly offences = new Map<string, { readonly limit: RateLimit; untold: number }>();

  constructor(id: number, logs: TokenBucket) {
    this.id = id;
    this.logs = logs;
  }
}

/** Options of a {@link Traffic}. */
export interface TrafficOptions {
  /** What may pass between children. Default: everything. */
  readonly edge?: EdgePolicy | undefined;
  /** How many log records a direct child may send, with all that is behind it. */
  readonly logs: Rate;
  /** Takes a line about an offence, for the log. */
  readonly warn: (text: string) => void;
}

/**
 * The gate of a context with children: counts what each direct peer sends, keeps what may not pass between children, and
 * tells of offences, once for a burst.
 */
export class Traffic implements Gate {
  readonly #router: Router;
  readonly #options: TrafficOptions;
  readonly #peers = new Map<number, Counters>();
  readonly #told = new RateLimit(MAX_TOLD, BURST_MS);
  /** Those of the peer that was counted last: messages come in batches. */
  #last: Counters | undefined;

  constructor(router: Router, options: TrafficOptions) {
    this.#router = router;
    this.#options = options;
    router.gate = this;
    router.events.subscribe((event) => {
      this.#onEvent(event);
    });
  }

  received(batch: readonly Message[], from: Stream): void {
    const counters = this.#of(from.remoteId);
    counters.frames += batch.length;
    for (const message of batch) counters.bytes += HEADER_LENGTH + payloadLength(message);
  }

  admits(message: Message, from: Stream, to: Stream): boolean {
    const counters = this.#of(from.remoteId);
    const { parent, twin } = this.#router.table;
    if (from !== parent && from !== twin) {
      // A record counts once. Fragments of one that was dropped continue nothing where they arrive.
      const begins = ((message.part ?? 0) & CONTINUES) === 0;
      if (message.handle === FORWARD_LOG && begins && !this.admitsLog(message, from.remoteId)) return false;
      if (to !== parent && to !== twin && !this.#mayPass(message, from.remoteId, to.remoteId)) return false;
    }
    counters.forwarded++;
    return true;
  }

  /** Whether a log record is within the quota of the child that it came in from; a record that is not is told and dropped. */
  admitsLog(message: Message, via: number): boolean {
    if (this.#of(via).logs.take(this.#router.broker.now())) return true;
    this.offence(message, via, 'over-quota', `context ${String(via)}, with those behind it, sends more log records than ${String(this.#options.logs.perSecond)} a second`);
    return false;
  }

  /** Counts and tells that a message was dropped. */
  offence({ srcId, handle }: Message, via: number, reason: DropReason, why: string): void {
    this.#router.emit({ type: 'message-dropped', reason, why, srcId, handle, via });
  }

  stats(): StreamStats[] {
    return [...this.#peers.values()].map(({ id, frames, bytes, forwarded, dropped, refused }) => ({ id, frames, bytes, forwarded, dropped: { ...dropped }, refused }));
  }

  #of(id: number): Counters {
    if (this.#last?.id === id) return this.#last;
    let counters = this.#peers.get(id);
    if (counters === undefined) {
      counters = new Counters(id, new TokenBucket(this.#options.logs, this.#router.broker.now()));
      // What a peer has sent before its end may be routed behind it.
      if ([...this.#router.streams].some(({ remoteId }) => remoteId === id)) this.#peers.set(id, counters);
      else return counters;
    }
    this.#last = counters;
    return counters;
  }

  #mayPass(message: Message, from: number, to: number): boolean {
    const { edge } = this.#options;
    if (edge === undefined) return true;
    const { srcId, dstId, handle, replyTo, part = 0 } = message;
    try {
      if (edge({ srcId, dstId, handle, replyTo }, from, to)) return true;
    } catch (error) {
      this.#router.broker.report(error, 'policy of messages between children');
    }
    const why = `routing mode prevents forward of message from context ${String(srcId)} to context ${String(dstId)} via context ${String(this.#router.id)}`;
    this.#router.emit({ type: 'message-refused', reason: 'refused-by-routing', why, srcId, handle, via: from });
    this.#tell(this.#of(from), 'refused-by-routing', why);
    if (replyTo !== 0 && replyTo !== IS_DEAD && (part & MORE) === 0) this.#router.sendDead(srcId, replyTo, 'refused-by-routing', why);
    return false;
  }

  #onEvent(event: RouterEvent): void {
    if (event.type === 'stream-closed') {
      this.#peers.delete(event.id);
      this.#last = undefined;
    }
    if ((event.type !== 'message-dropped' && event.type !== 'message-refused') || event.via === undefined) return;
    const counters = this.#of(event.via);
    if (event.type === 'message-refused') counters.refused++;
    else {
      counters.dropped[event.reason]++;
      this.#tell(counters, event.reason, `dropped a message of context ${String(event.srcId)} for handle ${String(event.handle)}: ${event.why}`);
    }
  }

  #tell({ offences }: Counters, kind: string, text: string): void {
    let known = offences.get(kind);
    if (known === undefined) offences.set(kind, (known = { limit: new RateLimit(1, BURST_MS), untold: 0 }));
    const now = this.#router.broker.now();
    if (!known.limit.admits(now) || !this.#told.admits(now)) {
      known.untold++;
      return;
    }
    this.#options.warn(known.untold === 0 ? text : `${text} (and ${String(known.untold)} more like it before)`);
    known.untold = 0;
  }
}
