import { AsyncSubject, ReplaySubject, Subscription, filter, firstValueFrom, take, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { CallTarget } from '../core/call/invoke.ts';
import type { FunctionRef } from '../core/call/protocol.ts';
import type { Context, ContextScope } from '../core/context.ts';
import { ChannelError, ShutdownError, TendrilError } from '../core/errors.ts';
import { guarded } from '../core/mailbox/guarded-observable.ts';
import type { Mailbox, MailboxOptions } from '../core/mailbox/mailbox.ts';
import { ping } from './calls/ping.ts';
import { ConnectError } from './connection/connect-error.ts';
import type { Closed, Connection, ConnectionListener } from './connection/connection.ts';
import { LASTING_MS } from './connection/reconnect.ts';
import type { ReconnectFunction } from './connection/reconnect.ts';
import type { OutputChunk } from './connection/transport.ts';
import { Rtt } from './context-stats.ts';
import type { ContextStats } from './context-stats.ts';
import { RemoteContext } from './remote-context.ts';

/** What a context is made of. */
export interface ContextPlan {
  /** Of the first connection. */
  readonly id: number;
  readonly name: string;
  /** The context by way of which it is reached; undefined for a child of this process. */
  readonly via: Context | undefined;
  /** Whether it runs the very Node of this process, on this machine. */
  readonly sameNode: boolean;
  /** When to connect again; undefined for never. */
  readonly reconnect: ReconnectFunction | undefined;
  /** An ID for another connection. */
  allocateId(): number;
  /** The context is known by its present ID from now on. */
  begin(context: ConnectedContext): void;
  /** Nothing is left of what was known by this ID. */
  end(id: number): void;
  /** Begins to connect. `stopping` tells whether this context, or one on the way to it, has been told to shut down. */
  connect(context: ConnectedContext, listener: ConnectionListener, stopping: () => boolean): Connection;
  /** Takes a line of raw output. */
  onOutput(stream: OutputChunk['stream'], line: string): void;
  /** Sends the module of a function ahead of a call. */
  prepare(context: ConnectedContext, ref: FunctionRef): void;
  /** What the process knows of it beside. */
  stats(context: ConnectedContext): Pick<ContextStats, 'sent' | 'received' | 'modules'>;
}

/** How the connection of a context is. */
export type ConnectionState =
  /** `attempt` is 0 for the first connection, and counts those of `reconnect`. */
  | { readonly state: 'connecting'; readonly attempt: number }
  | { readonly state: 'connected'; readonly attempt: number }
  /** It comes again: `delayMs` from now, or from when the context is back by way of which it is reached. */
  | { readonly state: 'waiting'; readonly attempt: number; readonly delayMs: number; readonly closed: Closed }
  /** It does not come again. */
  | { readonly state: 'closed'; readonly closed: Closed };

/** A call that is not sent yet. */
interface WaitingCall {
  readonly go: () => void;
  readonly fail: (error: Error) => void;
  withdraw: (() => void) | undefined;
}

const ENDINGS: Readonly<Record<Closed['reason'], string>> = { shutdown: 'shut down', failed: 'shut down', lost: 'disconnected', detached: 'been detached' };

/**
 * A context that this process has started. It can be used at once: calls and messages wait until it is connected.
 */
export class ConnectedContext extends RemoteContext implements AsyncDisposable {
  /** Emits this context once it is connected, then completes; errors with the ConnectError. Replays. */
  readonly connected: Observable<this>;
  /** Emits once, when nothing of the context is left and it does not come again; then completes. Replays, never errors. */
  readonly closed: Observable<Closed>;
  /** How its connection is: the present state at once, then each change. Completes behind `closed`. Never errors. */
  readonly connection: Observable<ConnectionState>;
  /** The context by way of which it was made: the `via` of its options. Undefined for a child of this process. */
  readonly via: Context | undefined;
  /** Version of Node in the context, such as `v20.20.2`; empty until it is connected. */
  nodeVersion = '';
  readonly #plan: ContextPlan;
  /** Whether it runs the very Node of this process, on this machine. @internal */
  readonly sameNode: boolean;
  readonly #scope: ContextScope;
  readonly #connected = new AsyncSubject<this>();
  readonly #closed = new ReplaySubject<Closed>(1);
  /** Keeps the last one also when it is the last of all, which a BehaviorSubject does not. */
  readonly #states = new ReplaySubject<ConnectionState>(1);
  #state: ConnectionState = { state: 'connecting', attempt: 0 };
  readonly #rtt = new Rtt();
  /** Calls that wait for the next connection. */
  readonly #parked = new Set<WaitingCall>();
  #connection: Connection;
  /** What is to bring the next connection. */
  #next: Subscription | undefined;
  #attempt = 0;
  #connections = 0;
  #connectedAt: number | undefined;
  #callTarget: CallTarget | undefined;
  #stopping = false;
  #detaching = false;
  #detached = false;
  /** Why the present connection is over. */
  #failure: Error | undefined;
  #over = false;

  /** @internal */
  constructor(scope: ContextScope, plan: ContextPlan) {
    super(scope, plan.id, plan.name);
    const { report } = scope.router.broker;
    this.#plan = plan;
    this.sameNode = plan.sameNode;
    this.#scope = scope;
    this.via = plan.via;
    this.connected = guarded(this.#connected, report, `subscriber of ${this.name}.connected`);
    this.closed = guarded(this.#closed, report, `subscriber of ${this.name}.closed`);
    this.connection = guarded(this.#states, report, `subscriber of ${this.name}.connection`);
    this.#states.next(this.#state);
    this.#connection = this.#connect();
    this.#watch();
  }

  override handle<T>(number?: number, options?: MailboxOptions): Mailbox<T> {
    const mailbox = super.handle<T>(number, options);
    // Nobody is there to answer or to end it.
    if (this.#failure) mailbox.fail(this.#failure instanceof ChannelError ? this.#failure : new ChannelError('respondent-gone', this.#failure.message));
    return mailbox;
  }

  /** Bytes queued for the context but not taken by the operating system yet. */
  get pendingBytes(): number {
    return this.#connection.stream.pendingBytes;
  }

  /**
   * Milliseconds of one round trip. Cold: each subscription asks once, as soon as the context is connected. It is answered
   * while user code there hangs, too. Errors with a ConnectError when the context cannot be connected, with a ChannelError
   * when it is lost; add a `timeout` where you want to know sooner.
   */
  ping(): Observable<number> {
    return ping(this.#scope.router, this.target()).pipe(tap((ms) => { this.#rtt.add(ms); }));
  }

  /** What is known of the context at this moment. */
  stats(): ContextStats {
    const { state } = this.#state;
    return {
      state,
      connectedForMs: this.#isUp() && this.#connectedAt !== undefined ? this.#scope.router.broker.now() - this.#connectedAt : undefined,
      connections: this.#connections,
      calls: this.target().calls,
      pendingBytes: this.pendingBytes,
      rtt: this.#rtt.stats,
      ...this.#plan.stats(this),
    };
  }

  /**
   * Ends the context in order: its calls are cancelled, its logs and output arrive, its own children end, its process
   * ends. By force when that takes longer than the grace. Resolves when nothing is left; never rejects.
   */
  async shutdown(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      if (this.#next) this.#finish({ reason: 'shutdown' });
      else this.#connection.shutdown();
    }
    await firstValueFrom(this.#closed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /**
   * Lets the context go on without us, with all contexts below it (Mitogen's detach). What was sent to it before arrives
   * first. Then it closes the connection: `closed` emits with the reason `detached`, here and for the contexts that were
   * made by way of it, calls under way fail with a ChannelError, and nobody above has a say there any more. Its process is
   * not ended by us, whatever becomes of us. Have it listen before (`router.listen()` in a function that you call there),
   * or nobody can reach it again (docs/detach.md).
   *
   * Resolves when it has left. Rejects with the ConnectError when it never connected, with a ShutdownError when it was told
   * to shut down, and with ERR_TENDRIL_DETACH when it ended instead.
   */
  async detach(): Promise<void> {
    if (this.stopping) throw new ShutdownError(`context ${this.name}`);
    await firstValueFrom(this.#connected);
    if (!this.#detaching) {
      this.#connection.detach();
      this.#detaching = true;
    }
    const { reason, error } = await firstValueFrom(this.#connection.closed);
    if (reason !== 'detached') throw new TendrilError('ERR_TENDRIL_DETACH', `context ${this.name} was not detached: it ${reason === 'shutdown' ? 'was shut down' : 'was lost'} meanwhile`, { cause: error });
  }

  /** Whether it has been told to shut down, itself or with a context on the way to it. @internal */
  get stopping(): boolean {
    return this.#stopping || (this.via instanceof ConnectedContext && this.via.stopping);
  }

  /** Whether it goes on without us. @internal */
  get detached(): boolean {
    return this.#detached;
  }

  /** Whether its present connection has ended, or never came to be. @internal */
  get gone(): boolean {
    return this.#failure !== undefined;
  }

  /** @internal */
  protected override comesBack(): boolean {
    return this.#plan.reconnect !== undefined;
  }

  /** @internal */
  protected override target(): CallTarget {
    const id = (): number => this.id;
    const ready = (): boolean => this.#isReady();
    return (this.#callTarget ??= {
      calls: 0,
      get ready() {
        return ready();
      },
      get contextId() {
        return id();
      },
      chains: this.failedChains,
      name: this.name,
      whenReady: (go, fail) => {
        if (this.#failure && (this.#over || this.#plan.reconnect === undefined)) fail(this.#failure);
        else if (this.#stopping) fail(new ShutdownError(`context ${this.name}`));
        else if (ready()) go();
        else return this.#wait({ go, fail, withdraw: undefined });
        return undefined;
      },
      prepare: (ref) => {
        this.#plan.prepare(this, ref);
      },
    });
  }

  #isReady(): boolean {
    return this.#connection.stream.opened && !this.#stopping && this.#failure === undefined;
  }

  #isUp(): boolean {
    return this.#state.state === 'connected' && this.#failure === undefined;
  }

  #connect(): Connection {
    this.#plan.begin(this);
    return this.#plan.connect(this, {
      onOutput: (stream, line) => {
        this.#plan.onOutput(stream, line);
      },
      onBooted: (nodeVersion) => {
        this.nodeVersion = nodeVersion;
      },
      onEnding: (reason, error) => {
        this.#onEnding(reason, error);
      },
    }, () => this.stopping);
  }

  #tell(state: ConnectionState): void {
    this.#state = state;
    this.#states.next(state);
  }

  #watch(): void {
    const { booted, closed } = this.#connection;
    booted.subscribe({
      next: () => {
        this.#connections++;
        this.#connectedAt = this.#scope.router.broker.now();
        this.#connected.next(this);
        this.#connected.complete();
        this.#tell({ state: 'connected', attempt: this.#attempt });
      },
      error: (error: unknown) => {
        if (this.#plan.reconnect === undefined) this.#connected.error(error);
      },
    });
    closed.subscribe((end) => {
      this.#plan.end(this.id);
      this.#ended(end);
    });
  }

  #wait(call: WaitingCall): () => void {
    this.#enqueue(call);
    return () => {
      call.withdraw?.();
      this.#parked.delete(call);
    };
  }

  #enqueue(call: WaitingCall): void {
    const { stream } = this.#connection;
    if (stream.ended) {
      this.#parked.add(call);
      return;
    }
    call.withdraw = stream.whenOpen(call.go, (error) => {
      if (this.#plan.reconnect === undefined || this.stopping) call.fail(error);
      else this.#parked.add(call);
    });
  }

  #onEnding(reason: Closed['reason'], error: Error | undefined): void {
    this.#detached = reason === 'detached';
    if (this.stopping || this.#detached) this.closeMailboxes();
    const failed = reason === 'failed' ? error : undefined;
    this.#failure ??= failed ?? new ChannelError('respondent-gone', `context ${this.name} has ${ENDINGS[reason]}${error ? `: ${error.message}` : ''}`);
  }

  /** A connection is over: gives up, or sees to the next one. */
  #ended(closed: Closed): void {
    const delayMs = this.stopping || closed.reason === 'detached' ? undefined : this.#delay(closed);
    if (delayMs === undefined) {
      this.#finish(closed);
      return;
    }
    const next = (this.#next = new Subscription());
    this.#tell({ state: 'waiting', attempt: this.#attempt, delayMs, closed });
    if (next.closed) return;
    const afterDelay = (): void => {
      next.add(this.#scope.router.broker.after(delayMs, () => {
        this.#again();
      }));
    };
    const { via } = this;
    if (via instanceof ConnectedContext) next.add(via.#whenUp(afterDelay, () => { this.#viaOver(via, closed); }));
    else afterDelay();
  }

  #viaOver(via: Context, closed: Closed): void {
    const error = new ConnectError('VIA_LOST', `context ${via.name}, by way of which it is reached, is gone for good`, { phase: 'transport' });
    this.#finish(this.stopping ? { reason: 'shutdown' } : { ...closed, error });
  }

  #delay(closed: Closed): number | undefined {
    const { reconnect } = this.#plan;
    const { broker } = this.#scope.router;
    if (reconnect === undefined) return undefined;
    if (this.#connectedAt !== undefined && broker.now() - this.#connectedAt >= LASTING_MS) this.#attempt = 0;
    this.#connectedAt = undefined;
    this.#attempt++;
    try {
      return reconnect(this.#attempt, closed);
    } catch (error) {
      broker.report(error, `the function reconnect of ${this.name}`);
      return undefined;
    }
  }

  #whenUp(go: () => void, over: () => void): Subscription {
    return this.#states.pipe(filter(({ state }) => state === 'closed' || this.#isUp()), take(1)).subscribe(({ state }) => {
      if (state === 'closed') over();
      else go();
    });
  }

  #again(): void {
    this.#next = undefined;
    try {
      (this as { -readonly [key in keyof Context]: Context[key] }).id = this.#plan.allocateId();
    } catch (error) {
      this.#ended({ reason: 'failed', error: error as Error });
      return;
    }
    this.#failure = undefined;
    this.nodeVersion = '';
    this.#connection = this.#connect();
    const parked = [...this.#parked];
    this.#parked.clear();
    for (const call of parked) this.#enqueue(call);
    this.#tell({ state: 'connecting', attempt: this.#attempt });
    this.#watch();
  }

  #finish(closed: Closed): void {
    this.#next?.unsubscribe();
    this.#next = undefined;
    this.#over = true;
    const failure = (this.#failure ??= closed.error ?? new ShutdownError(`context ${this.name}`));
    for (const call of [...this.#parked]) call.fail(failure);
    this.#parked.clear();
    this.#connected.error(closed.reason === 'shutdown' ? new ConnectError('CANCELLED', `the connection of ${this.name} was cancelled by a shutdown`, { phase: 'transport' }) : failure);
    this.#tell({ state: 'closed', closed });
    this.#states.complete();
    this.#closed.next(closed);
    this.#closed.complete();
  }
}
