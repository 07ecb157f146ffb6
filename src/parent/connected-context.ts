import { AsyncSubject, firstValueFrom } from 'rxjs';
import type { Observable } from 'rxjs';
import { Context } from '../core/context.ts';
import type { ContextScope } from '../core/context.ts';
import { ChannelError, ShutdownError, TendrilError } from '../core/errors.ts';
import type { CallTarget } from '../core/call/invoke.ts';
import type { FunctionRef } from '../core/call/protocol.ts';
import { guarded } from '../core/mailbox/guarded-observable.ts';
import type { Mailbox, MailboxOptions } from '../core/mailbox/mailbox.ts';
import type { Closed, Connection, ConnectionListener } from './connection/connection.ts';
import type { OutputChunk } from './connection/transport.ts';

/** What a context is made of. */
export interface ContextPlan {
  readonly id: number;
  readonly name: string;
  /** The context by way of which it is reached; undefined for a child of this process. */
  readonly via: Context | undefined;
  /** Begins to connect. `stopping` tells whether this context, or one on the way to it, has been told to shut down. */
  connect(listener: ConnectionListener, stopping: () => boolean): Connection;
  /** Takes a line of raw output. */
  onOutput(stream: OutputChunk['stream'], line: string): void;
  /** Sends the module of a function ahead of a call. */
  prepare(context: ConnectedContext, ref: FunctionRef): void;
}

const ENDINGS: Readonly<Record<Closed['reason'], string>> = { shutdown: 'shut down', failed: 'shut down', lost: 'disconnected', detached: 'been detached' };

/**
 * A context that this process has started. It can be used at once: calls and messages wait until it is connected.
 */
export class ConnectedContext extends Context implements AsyncDisposable {
  /** Emits this context once it is connected, then completes; errors with the ConnectError. Replays. */
  readonly connected: Observable<this>;
  /** Emits once, when nothing of the context is left; then completes. Replays, never errors. */
  readonly closed: Observable<Closed>;
  /** The context by way of which it was made: the `via` of its options. Undefined for a child of this process. */
  readonly via: Context | undefined;
  /** Version of Node in the context, such as `v20.20.2`; empty until it is connected. */
  nodeVersion = '';
  readonly #plan: ContextPlan;
  readonly #connection: Connection;
  readonly #connected = new AsyncSubject<this>();
  #stopping = false;
  #detaching = false;
  #detached = false;
  #failure: Error | undefined;

  /** @internal */
  constructor(scope: ContextScope, plan: ContextPlan) {
    super(scope, plan.id, plan.name);
    const { report } = scope.router.broker;
    this.#plan = plan;
    this.via = plan.via;
    this.#connection = plan.connect({
      onOutput: (stream, line) => {
        plan.onOutput(stream, line);
      },
      onBooted: (nodeVersion) => {
        this.nodeVersion = nodeVersion;
      },
      onEnding: (reason, error) => {
        this.#onEnding(reason, error);
      },
    }, () => this.stopping);
    this.connected = guarded(this.#connected, report, `subscriber of ${this.name}.connected`);
    this.closed = guarded(this.#connection.closed, report, `subscriber of ${this.name}.closed`);
    this.#connection.booted.subscribe({
      next: () => {
        this.#connected.next(this);
        this.#connected.complete();
      },
      error: (error: unknown) => {
        this.#connected.error(error);
      },
    });
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
   * Ends the context in order: its calls are cancelled, its logs and output arrive, its own children end, its process
   * ends. By force when that takes longer than the grace. Resolves when nothing is left; never rejects.
   */
  async shutdown(): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#connection.shutdown();
    }
    await firstValueFrom(this.#connection.closed);
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

  /** Whether it has ended, or never came to be. @internal */
  get gone(): boolean {
    return this.#failure !== undefined;
  }

  /** @internal */
  protected override target(): CallTarget {
    const { stream } = this.#connection;
    const ready = (): boolean => stream.opened && !this.#stopping && this.#failure === undefined;
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
        else return stream.whenOpen(go, fail);
        return undefined;
      },
      prepare: (ref) => {
        this.#plan.prepare(this, ref);
      },
    };
  }

  #onEnding(reason: Closed['reason'], error: Error | undefined): void {
    this.#detached = reason === 'detached';
    if (this.stopping || this.#detached) this.closeMailboxes();
    const failed = reason === 'failed' ? error : undefined;
    this.#failure ??= failed ?? new ChannelError('respondent-gone', `context ${this.name} has ${ENDINGS[reason]}${error ? `: ${error.message}` : ''}`);
  }
}
