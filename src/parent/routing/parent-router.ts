import type { Observable } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { Router } from '../../core/routing/router.ts';
import type { RouterOptions } from '../../core/routing/router.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { HEADER_LENGTH, payloadLength } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { ContextDirectory } from './context-directory.ts';
import type { ContextInfo } from './context-directory.ts';

/** What went between this process and another. */
export interface TrafficCount {
  /** Messages, headers included in their bytes. */
  readonly messages: number;
  readonly bytes: number;
}

/** What was exchanged with one context. */
export interface Exchanged {
  readonly sent: TrafficCount;
  readonly received: TrafficCount;
}

class Tally {
  readonly sent = { messages: 0, bytes: 0 };
  readonly received = { messages: 0, bytes: 0 };
}

/** The router of a process that makes contexts: knows which there are, and counts what it exchanges with its own. */
export class ParentRouter extends Router {
  /** @internal */
  readonly directory: ContextDirectory;
  readonly #tallies = new Map<number, Tally>();
  /** The one that was counted last: messages come in batches. */
  #last: { readonly id: number; readonly tally: Tally | undefined } = { id: -1, tally: undefined };

  constructor(broker: Broker, options: RouterOptions) {
    super(broker, options);
    this.directory = new ContextDirectory(broker.report);
  }

  /**
   * The contexts behind this one, whoever has made them: all of them at once on subscription, then again with each change.
   * An array never changes once it was given. Completes with the router.
   */
  get contexts(): Observable<readonly ContextInfo[]> {
    return this.directory.changes;
  }

  override send(message: Message): void {
    count(this.#tally(message.dstId)?.sent, message);
    super.send(message);
  }

  override receive(batch: readonly Message[], from: Stream): void {
    for (const message of batch) if (message.dstId === this.id) count(this.#tally(message.srcId)?.received, message);
    super.receive(batch, from);
  }

  override close(): void {
    super.close();
    this.directory.close();
  }

  /** Counts what is exchanged with a context until {@link ParentRouter.uncount}. @internal */
  count(id: number): void {
    this.#tallies.set(id, new Tally());
    this.#last = { id: -1, tally: undefined };
  }

  /** @internal */
  uncount(id: number): void {
    this.#tallies.delete(id);
    this.#last = { id: -1, tally: undefined };
  }

  /** What was exchanged with a context since it is counted. @internal */
  exchanged(id: number): Exchanged | undefined {
    const tally = this.#tallies.get(id);
    return tally && { sent: { ...tally.sent }, received: { ...tally.received } };
  }

  #tally(id: number): Tally | undefined {
    if (this.#last.id !== id) this.#last = { id, tally: this.#tallies.get(id) };
    return this.#last.tally;
  }
}

function count(into: { messages: number; bytes: number } | undefined, message: Message): void {
  if (into === undefined) return;
  into.messages++;
  into.bytes += HEADER_LENGTH + payloadLength(message);
}
