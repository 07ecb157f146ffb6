import { AsyncSubject, ReplaySubject, Subscription, concat, finalize, of, switchMap, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { ChildConfig } from '../../core/config.ts';
import type { Router } from '../../core/routing/router.ts';
import { Stream } from '../../core/routing/stream.ts';
import { KILL_AFTER_MS } from '../../core/shutdown.ts';
import { LineSplitter } from '../../core/stdio/lines.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { DETACHING, FIRST_DYNAMIC_HANDLE, SHUTDOWN } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import { handshake } from '../bootstrap/handshake.ts';
import type { Booted } from '../bootstrap/handshake.ts';
import { lacksNode, lastError } from '../bootstrap/ladder.ts';
import type { Attempt } from '../bootstrap/ladder.ts';
import { bootstrapParts } from '../bootstrap/parts.ts';
import type { Admission } from './admission.ts';
import { sendValue } from '../modules/send.ts';
import { ConnectError } from './connect-error.ts';
import type { Closed, Connection, ConnectionListener } from './connection.ts';
import { keepAlive } from './keepalive.ts';
import { MeteredLink } from './metered-link.ts';
import type { ExitStatus, OutputChunk, Transport } from './transport.ts';

/** What connecting a child takes. */
export interface ConnectPlan {
  /** Ways to start it, in order: the next where the one before found no Node that can run it. */
  readonly attempts: readonly Attempt[];
  readonly config: ChildConfig;
  readonly core: Uint8Array;
  /** V8's code cache of the core, or nothing; asked for when the process has been started. */
  readonly codeCache: () => Uint8Array;
  /** Whether the core is sent without waiting for the first stage to ask. */
  readonly eager: boolean;
  readonly bootTimeoutMs: number;
  /** Who else is being booted by this process. */
  readonly admission: Admission;
  /** Routes the ID of the context to its stream, and announces it. */
  attach(stream: Stream): void;
  /** Makes known that the context is connected. */
  booted(nodeVersion: string): void;
  /** Sends the child the parts of the library that it takes to go on alone. */
  loadDetaching(): void;
}

/** A child of this very process: starts it, boots it, and sees it end. */
export class DirectConnection implements Connection {
  readonly stream: Stream;
  readonly booted: Observable<string>;
  readonly closed: Observable<Closed>;
  readonly #router: Router;
  readonly #plan: ConnectPlan;
  readonly #listener: ConnectionListener;
  readonly #booted = new AsyncSubject<string>();
  readonly #closed = new ReplaySubject<Closed>(1);
  readonly #connecting = new Subscription();
  #transport: Transport | undefined;
  #stopping = false;
  #failed = false;
  /** The child has said that it goes on without us. */
  #detached = false;

  constructor(router: Router, plan: ConnectPlan, listener: ConnectionListener) {
    const { id, bulkRate } = plan.config;
    this.#router = router;
    this.#plan = plan;
    this.#listener = listener;
    this.booted = this.#booted;
    this.closed = this.#closed;
    this.stream = new Stream(router.broker, id, router.maxMessageSize, bulkRate);
    plan.attach(this.stream);
    // Before the router hears of it: at an orderly end conversations complete, where the router would fail them.
    this.stream.closed.subscribe((error) => {
      this.#ending(error);
    });
    router.addConversation(id, DETACHING, { deliver: (message) => { this.#onDetaching(message); } });
    router.add(this.stream);
    // Behind it: the routes are taken back before anyone is told that nothing is left.
    this.stream.closed.subscribe((error) => {
      this.#ended(error);
    });
  }

  /** Starts the process, when it is its turn. */
  start(): void {
    this.#connecting.add(this.#plan.admission.enter(() => {
      this.#start(this.#plan.attempts);
    }));
  }

  shutdown(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    if (!this.stream.opened) {
      this.#fail(new ConnectError('CANCELLED', `the connection of ${this.#plan.config.name} was cancelled by a shutdown`, { phase: 'transport' }));
      return;
    }
    const { id, graceMs } = this.#plan.config;
    const router = this.#router;
    router.send({ dstId: id, srcId: router.id, handle: SHUTDOWN, replyTo: 0, data: Buffer.alloc(0) });
    // The child keeps to the grace by itself; this is for one that does not.
    const force = router.broker.after(graceMs + KILL_AFTER_MS, () => {
      this.stream.disconnect();
    });
    this.stream.closed.subscribe(() => {
      force.unsubscribe();
    });
  }

  detach(): void {
    this.#plan.loadDetaching();
    sendValue(this.#router, this.#plan.config.id, DETACHING, null);
  }

  /** The child leaves. From our answer on it is not ours to end, only to be parted from. */
  #onDetaching({ replyTo, data, tail }: Message): void {
    if (replyTo === IS_DEAD || replyTo < FIRST_DYNAMIC_HANDLE || decodeValue(data, tail) !== null) return;
    const { id, graceMs } = this.#plan.config;
    const router = this.#router;
    if (this.#stopping) {
      router.sendDead(id, replyTo, 'error', 'the context has been told to shut down');
      return;
    }
    this.#detached = true;
    this.stream.settle();
    sendValue(router, id, replyTo, null);
    // It closes the connection when it has read everything that came before; this is for one that does not.
    const force = router.broker.after(graceMs, () => {
      this.stream.disconnect();
    });
    this.stream.closed.subscribe(() => {
      force.unsubscribe();
    });
  }

  #start([attempt, ...others]: readonly Attempt[], earlier?: ConnectError): void {
    if (attempt === undefined) return;
    this.#connecting.add(attempt.open.subscribe({
      next: (transport) => {
        this.#boot(transport, attempt, others, earlier);
      },
      error: (error: unknown) => {
        this.#fail(error as Error);
      },
    }));
  }

  #boot(transport: Transport, { prepare = (ready) => of(ready) }: Attempt, others: readonly Attempt[], earlier: ConnectError | undefined): void {
    this.#transport = transport;
    this.#watchOutput(transport);
    const { core, codeCache, config, eager, bootTimeoutMs } = this.#plan;
    const options = { parts: bootstrapParts(core, codeCache(), config), eager, timeoutMs: bootTimeoutMs };
    const booting = prepare(transport).pipe(switchMap((ready) => handshake(ready, options, this.#router.broker))).subscribe({
      next: (booted) => {
        this.#open(transport, booted);
      },
      error: (error: unknown) => {
        if (others.length > 0 && lacksNode(error)) this.#startAgain(transport, others, error);
        else this.#fail(lastError(error as Error, earlier));
      },
    });
    this.#connecting.add(booting);
  }

  /** The next attempt, when nothing is left of the one before. */
  #startAgain(transport: Transport, others: readonly Attempt[], error: ConnectError): void {
    transport.link.destroy();
    transport.kill('SIGKILL');
    this.#connecting.add(transport.exited.subscribe(() => {
      this.#start(others, error);
    }));
  }

  #open(transport: Transport, { nodeVersion, first }: Booted): void {
    this.#listener.onBooted?.(nodeVersion);
    this.#booted.next(nodeVersion);
    this.#plan.booted(nodeVersion);
    const link = new MeteredLink(transport.link);
    const { keepalive } = this.#plan.config;
    if (keepalive) keepAlive(this.#router, this.stream, link, keepalive);
    this.#router.open(this.stream, link, first);
    this.#booted.complete();
    // The next one may begin.
    this.#connecting.unsubscribe();
  }

  #watchOutput(transport: Transport): void {
    const splitters = new Map<OutputChunk['stream'], LineSplitter>();
    transport.output.subscribe({
      next: ({ stream, bytes }) => {
        let lines = splitters.get(stream);
        if (lines === undefined) splitters.set(stream, (lines = new LineSplitter((line) => { this.#listener.onOutput(stream, line); })));
        lines.push(bytes);
      },
      complete: () => {
        for (const lines of splitters.values()) lines.end();
      },
    });
  }

  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.stream.disconnect(error);
    this.#booted.error(error);
  }

  get #reason(): Closed['reason'] {
    if (this.#detached) return 'detached';
    return this.stream.opened ? (this.#stopping ? 'shutdown' : 'lost') : 'failed';
  }

  #ending(error: Error | undefined): void {
    this.#failed = true;
    this.#connecting.unsubscribe();
    this.#router.removeConversation(this.#plan.config.id, DETACHING);
    this.#listener.onEnding(this.#reason, error);
  }

  #ended(error: Error | undefined): void {
    const end: Closed = { reason: this.#reason, ...(error && { error }) };
    if (this.#detached) this.#release(end);
    else if (this.#transport) this.#reap(this.#transport, end);
    else this.#finish(end);
  }

  /** Nothing of ours is left of a process that goes on. */
  #release(end: Closed): void {
    this.#transport?.link.destroy();
    this.#transport?.release?.();
    this.#finish(end);
  }

  /** Sees the process end, with growing emphasis (Mitogen's Reaper), and its output arrive. */
  #reap(transport: Transport, end: Closed): void {
    const { broker } = this.#router;
    // A process that ends by itself does so at end of file; its last output should not be cut off.
    // Not the timer itself: a Subscription ends when its timer has fired, and takes what was added to it along.
    const term = new Subscription();
    term.add(broker.after(this.#plan.config.graceMs, () => {
      transport.kill('SIGTERM');
    }));
    term.add(broker.after(this.#plan.config.graceMs + KILL_AFTER_MS, () => {
      transport.kill('SIGKILL');
    }));
    transport.link.destroy();
    let exit: ExitStatus | undefined;
    concat(transport.exited.pipe(tap((status) => { exit = status; }), finalize(() => { term.unsubscribe(); })), transport.output).subscribe({
      complete: () => {
        this.#finish({ ...end, ...(exit && { exit }) });
      },
    });
  }

  #finish(end: Closed): void {
    // Behind the news that its route is gone, also where its process has ended before.
    this.#router.broker.defer(() => {
      this.#closed.next(end);
      this.#closed.complete();
    });
  }
}
