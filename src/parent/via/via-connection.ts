import { AsyncSubject, NEVER, ReplaySubject, Subscription, of } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Link } from '../../core/broker/broker.ts';
import type { Context } from '../../core/context.ts';
import type { Router } from '../../core/routing/router.ts';
import { Stream } from '../../core/routing/stream.ts';
import { KILL_AFTER_MS } from '../../core/shutdown.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { CONNECT } from '../../core/wire/handles.ts';
import { decodeValue, encodeValue } from '../../core/wire/values.ts';
import { ConnectError } from '../connection/connect-error.ts';
import type { Closed, Connection, ConnectionListener } from '../connection/connection.ts';
import type { ExitStatus } from '../connection/transport.ts';
import { checkReport, errorOf } from './protocol.ts';
import type { ConnectMessage, ConnectRequest, Report } from './protocol.ts';

/** How long the news of an end may take on its way here, in milliseconds. */
const ANSWER_MS = 2000;

/** What a connection by way of another context takes. */
export interface ViaPlan {
  readonly via: Context;
  /** Without the address for reports. */
  readonly request: Omit<ConnectRequest, 'contextId' | 'handle'>;
  /** Why it cannot even be asked for. */
  readonly fault: ConnectError | undefined;
  /** Sends the request on its way: to the hop that leads to `via`. False when there is none. */
  send(request: ConnectRequest): boolean;
  /** Has the context go on alone, by way of the hop that leads to `via`. */
  detach(): void;
  /** Whether `via` has been detached, and this context with it. */
  detached(): boolean;
  /** The direct peer that requests go to. */
  hop(): number | undefined;
  /** The stream that leads to `via`. */
  route(): Stream | undefined;
  /** Takes away what leads to the context. */
  dropRoute(): void;
  /** Whether the context, or one on the way to it, has been told to shut down. */
  stopping(): boolean;
  /** How long an orderly end may take, in milliseconds. */
  readonly graceMs: number;
}

/**
 * A context that another context starts for us. Until it is there its stream is a stand-in that keeps what is sent, so
 * that everything arrives in order; then it is a route through the stream that leads to `via`.
 */
export class ViaConnection implements Connection {
  readonly stream: Stream;
  readonly booted: Observable<string>;
  readonly closed: Observable<Closed>;
  readonly #router: Router;
  readonly #plan: ViaPlan;
  readonly #listener: ConnectionListener;
  readonly #booted = new AsyncSubject<string>();
  readonly #closed = new ReplaySubject<Closed>(1);
  readonly #handle: number;
  readonly #giveUp = new Subscription();
  #end: Closed | undefined;
  #finished = false;
  #stopping = false;
  #hasMisled = false;

  constructor(router: Router, plan: ViaPlan, listener: ConnectionListener) {
    this.#router = router;
    this.#plan = plan;
    this.#listener = listener;
    this.booted = this.#booted;
    this.closed = this.#closed;
    this.stream = new Stream(router.broker, plan.request.id, router.maxMessageSize);
    router.table.add(plan.request.id, this.stream);
    this.#handle = router.allocateHandle();
    router.addHandler(this.#handle, {
      respondent: plan.via.id,
      // Any context on the way may refuse to pass the request on. Others do not know the handle.
      policy: (_message, { immediateId }) => !this.stream.opened && immediateId !== undefined && immediateId === plan.hop(),
      deliver: (message) => { this.#onReport(message); },
    });
  }

  /** Asks for the context. */
  start(): void {
    const { fault } = this.#plan;
    if (fault) {
      this.#failed(fault);
      this.#finish(undefined);
    } else if (!this.#plan.send({ ...this.#plan.request, contextId: this.#router.id, handle: this.#handle })) this.#lost();
  }

  shutdown(): void {
    if (this.#finished || this.#stopping) return;
    this.#stopping = true;
    // `via` ends it by force if need be, which takes twice the grace and a second at most. This is for one that does not say so.
    this.#giveUp.add(this.#router.broker.after(2 * (this.#plan.graceMs + KILL_AFTER_MS) + ANSWER_MS, () => {
      this.#ending('shutdown', undefined);
      this.#finish(undefined);
    }));
    if (this.#end !== undefined) return;
    this.#tell(['end', this.#plan.request.id]);
    if (!this.stream.opened) this.#failed(this.#cancelled());
  }

  detach(): void {
    if (this.#end === undefined) this.#plan.detach();
  }

  #tell(message: ConnectMessage): void {
    const { data } = encodeValue(message);
    this.#router.send({ dstId: this.#plan.via.id, srcId: this.#router.id, handle: CONNECT, replyTo: 0, data });
  }

  #onReport(message: Message): void {
    const { via } = this.#plan;
    if (message.replyTo === IS_DEAD) {
      this.#lost();
      return;
    }
    const report = this.#decode(message);
    if (report === undefined) return;
    switch (report[0]) {
      case 'booted':
        this.#open(report[1]);
        return;
      case 'output':
        this.#listener.onOutput(report[1], report[2]);
        return;
      case 'ending': {
        const error = report[2] === null ? undefined : errorOf(report[2], via.name);
        if (this.stream.opened) this.#ending(report[1] === 'detached' ? 'detached' : report[1] === 'shutdown' || this.#plan.stopping() ? 'shutdown' : 'lost', error);
        else this.#failed(error ?? this.#ended());
        return;
      }
      default:
        if (this.#end !== undefined) this.#finish(report[1] ?? undefined);
    }
  }

  /** What is not valid is ignored, and told once: it comes from below. */
  #decode(message: Message): Report | undefined {
    try {
      return checkReport(decodeValue(message.data, message.tail));
    } catch (error) {
      if (!this.#hasMisled) this.#router.broker.report(error, `report of context ${this.#plan.via.name}`);
      this.#hasMisled = true;
      return undefined;
    }
  }

  #cancelled(): ConnectError {
    return new ConnectError('CANCELLED', `the connection of ${this.#plan.request.name} was cancelled by a shutdown`, { phase: 'transport' });
  }

  /** Of a context that was not up yet, where nothing else is told. */
  #ended(): ConnectError {
    return this.#plan.stopping() ? this.#cancelled() : new ConnectError('CONNECT_EOF', `via ${this.#plan.via.name}: the connection ended before the context was up`, { phase: 'transport' });
  }

  #lost(): void {
    const text = `context ${this.#plan.via.name}, by way of which it is reached, is gone`;
    if (this.#plan.detached()) this.#ending('detached', undefined);
    else if (this.stream.opened) this.#ending(this.#plan.stopping() ? 'shutdown' : 'lost', new Error(text));
    else this.#failed(new ConnectError('VIA_LOST', `${text}; connect that first`, { phase: 'transport' }));
    this.#finish(undefined);
  }

  /** From now on the way leads through `via`; what has waited goes first. */
  #open(nodeVersion: string): void {
    const { id } = this.#plan.request;
    const route = this.#plan.route();
    if (route === undefined || this.stream.opened || this.#end !== undefined) return;
    const { table } = this.#router;
    table.delete(id);
    table.add(id, route);
    // Before those who have waited look at it.
    this.#listener.onBooted?.(nodeVersion);
    this.stream.open(passingTo(route), () => undefined);
    this.#booted.next(nodeVersion);
    this.#booted.complete();
  }

  #failed(error: Error): void {
    if (this.#end !== undefined) return;
    this.#ending('failed', error);
    this.#booted.error(error);
  }

  #ending(reason: Closed['reason'], error: Error | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { reason, ...(error && { error }) };
    this.#listener.onEnding(reason, error);
    this.stream.disconnect(error);
    this.#router.contextGone(this.#plan.request.id);
  }

  #finish(exit: ExitStatus | undefined): void {
    if (this.#finished || this.#end === undefined) return;
    this.#finished = true;
    this.#giveUp.unsubscribe();
    this.#router.removeHandler(this.#handle);
    // A hop on the way may not have lived to say so.
    if (this.#router.table.get(this.#plan.request.id) !== undefined) this.#plan.dropRoute();
    this.#closed.next({ ...this.#end, ...(exit && { exit }) });
    this.#closed.complete();
  }
}

/** A link whose messages go out on another stream. */
export function passingTo(route: Stream): Link {
  return {
    chunks: NEVER,
    volatile: false,
    pendingBytes: 0,
    drained: of(undefined),
    note: (message) => {
      route.send(message);
    },
    write: () => undefined,
    end: () => undefined,
    destroy: () => undefined,
  };
}
