import { AsyncSubject, ReplaySubject, Subscription, concat, finalize, firstValueFrom, of, switchMap, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { ChildConfig } from '../core/config.ts';
import { Context } from '../core/context.ts';
import type { ContextScope } from '../core/context.ts';
import { ChannelError, ShutdownError } from '../core/errors.ts';
import type { CallTarget } from '../core/call/invoke.ts';
import type { FunctionRef } from '../core/call/protocol.ts';
import { guarded } from '../core/mailbox/guarded-observable.ts';
import type { Mailbox, MailboxOptions } from '../core/mailbox/mailbox.ts';
import { Stream } from '../core/routing/stream.ts';
import { KILL_AFTER_MS } from '../core/shutdown.ts';
import { LineSplitter } from '../core/stdio/lines.ts';
import { SHUTDOWN } from '../core/wire/handles.ts';
import { bootstrapParts } from './bootstrap/payload.ts';
import { handshake } from './bootstrap/handshake.ts';
import type { Booted } from './bootstrap/handshake.ts';
import { lacksNode, lastError } from './bootstrap/ladder.ts';
import type { Attempt } from './bootstrap/ladder.ts';
import { ConnectError } from './connection/connect-error.ts';
import type { ExitStatus, OutputChunk, Transport } from './connection/transport.ts';

/** How a context came to its end. */
export interface Closed {
  /** `shutdown`: as asked. `failed`: it never connected. `lost`: it or the way to it ended by itself. */
  readonly reason: 'shutdown' | 'failed' | 'lost';
  /** The ConnectError, or what broke the link. */
  readonly error?: Error;
  /** How its process ended, where that is known. */
  readonly exit?: ExitStatus;
}

/** What connecting a context takes. */
export interface ConnectPlan {
  /** Ways to start it, in order: the next where the one before found no Node that can run it. */
  readonly attempts: readonly Attempt[];
  readonly config: ChildConfig;
  readonly core: Uint8Array;
  /** V8's code cache of the core, or nothing; asked for when the process has been started. */
  readonly codeCache: () => Uint8Array;
  readonly eager: boolean;
  readonly bootTimeoutMs: number;
  /** Takes a line of raw output. */
  onOutput(stream: OutputChunk['stream'], line: string): void;
  /** Sends the module of a function ahead of a call. */
  prepare(context: ConnectedContext, ref: FunctionRef): void;
}

/**
 * A context that this process has started. It can be used at once: calls and messages wait until it is connected.
 */
export class ConnectedContext extends Context implements AsyncDisposable {
  /** Emits this context once it is connected, then completes; errors with the ConnectError. Replays. */
  readonly connected: Observable<this>;
  /** Emits once, when nothing of the context is left; then completes. Replays, never errors. */
  readonly closed: Observable<Closed>;
  /** Version of Node in the context, such as `v20.20.2`; empty until it is connected. */
  nodeVersion = '';
  readonly #scope: ContextScope;
  readonly #plan: ConnectPlan;
  readonly #stream: Stream;
  readonly #connected = new AsyncSubject<this>();
  readonly #closed = new ReplaySubject<Closed>(1);
  readonly #connecting = new Subscription();
  #transport: Transport | undefined;
  #stopping = false;
  #failure: Error | undefined;

  /** @internal */
  constructor(scope: ContextScope, plan: ConnectPlan) {
    super(scope, plan.config.id, plan.config.name);
    const { router } = scope;
    this.#scope = scope;
    this.#plan = plan;
    const { report } = router.broker;
    this.connected = guarded(this.#connected, report, `subscriber of ${this.name}.connected`);
    this.closed = guarded(this.#closed, report, `subscriber of ${this.name}.closed`);
    this.#stream = new Stream(router.broker, this.id, router.maxMessageSize);
    router.table.add(this.id, this.#stream);
    // Before the router hears of it: at an orderly end conversations complete, where the router would fail them.
    this.#stream.closed.subscribe((error) => {
      this.#streamClosed(error);
    });
    router.add(this.#stream);
    this.#start(plan.attempts);
  }

  override handle<T>(number?: number, options?: MailboxOptions): Mailbox<T> {
    const mailbox = super.handle<T>(number, options);
    // Nobody is there to answer or to end it.
    if (this.#failure) mailbox.fail(this.#failure instanceof ChannelError ? this.#failure : new ChannelError('respondent-gone', this.#failure.message));
    return mailbox;
  }

  /** Bytes queued for the context but not taken by the operating system yet. */
  get pendingBytes(): number {
    return this.#stream.pendingBytes;
  }

  /**
   * Ends the context in order: its calls are cancelled, its logs and output arrive, its process ends. By force when that
   * takes longer than the grace. Resolves when nothing is left; never rejects.
   */
  async shutdown(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      const { router } = this.#scope;
      if (this.#stream.opened) {
        router.send({ dstId: this.id, srcId: router.id, handle: SHUTDOWN, replyTo: 0, data: Buffer.alloc(0) });
        // The child keeps to the grace by itself; this is for one that does not.
        const force = router.broker.after(this.#plan.config.graceMs + KILL_AFTER_MS, () => {
          this.#stream.disconnect();
        });
        this.#stream.closed.subscribe(() => {
          force.unsubscribe();
        });
      } else this.#fail(new ConnectError('CANCELLED', `the connection of ${this.name} was cancelled by a shutdown`, { phase: 'transport' }));
    }
    await firstValueFrom(this.#closed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** @internal */
  protected override target(): CallTarget {
    const ready = (): boolean => this.#stream.opened && !this.#stopping && this.#failure === undefined;
    return {
      get ready() {
        return ready();
      },
      chains: this.failedChains,
      contextId: this.id,
      name: this.name,
      whenReady: (go, fail) => {
        if (this.#failure) fail(this.#failure);
        else if (this.#stopping) fail(new ShutdownError(`context ${this.name}`));
        else if (ready()) go();
        else return this.#stream.whenOpen(go, fail);
        return undefined;
      },
      prepare: (ref) => {
        this.#plan.prepare(this, ref);
      },
    };
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
    const handshakeOptions = { parts: bootstrapParts(core, codeCache(), config), eager, timeoutMs: bootTimeoutMs };
    const booting = prepare(transport).pipe(switchMap((ready) => handshake(ready, handshakeOptions, this.#scope.router.broker))).subscribe({
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

  #open(transport: Transport, booted: Booted): void {
    this.nodeVersion = booted.nodeVersion;
    this.#scope.router.open(this.#stream, transport.link, booted.first);
    this.#connected.next(this);
    this.#connected.complete();
  }

  #watchOutput(transport: Transport): void {
    const splitters = new Map<OutputChunk['stream'], LineSplitter>();
    transport.output.subscribe({
      next: ({ stream, bytes }) => {
        let lines = splitters.get(stream);
        if (lines === undefined) splitters.set(stream, (lines = new LineSplitter((line) => { this.#plan.onOutput(stream, line); })));
        lines.push(bytes);
      },
      complete: () => {
        for (const lines of splitters.values()) lines.end();
      },
    });
  }

  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#stream.disconnect(error);
    this.#connected.error(error);
  }

  #streamClosed(error: Error | undefined): void {
    this.#connecting.unsubscribe();
    if (this.#stopping) this.closeMailboxes();
    const reason = this.#stream.opened ? (this.#stopping ? 'shutdown' : 'lost') : 'failed';
    this.#failure ??= new ChannelError('respondent-gone', `context ${this.name} has ${reason === 'lost' ? 'disconnected' : 'shut down'}${error ? `: ${error.message}` : ''}`);
    const end: Closed = { reason, ...(error && { error }) };
    if (this.#transport) this.#reap(this.#transport, end);
    else this.#finish(end);
  }

  /** Sees the process end, with growing emphasis (Mitogen's Reaper), and its output arrive. */
  #reap(transport: Transport, end: Closed): void {
    const { broker } = this.#scope.router;
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
    this.#closed.next(end);
    this.#closed.complete();
  }
}
