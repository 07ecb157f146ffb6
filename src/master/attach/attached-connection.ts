import { ReplaySubject, of } from 'rxjs';
import type { Observable } from 'rxjs';
import { invoke } from '../../core/call/invoke.ts';
import { UsageError } from '../../core/errors.ts';
import type { MailboxScope } from '../../core/mailbox/mailbox.ts';
import { Stream } from '../../core/routing/stream.ts';
import { SHUTDOWN } from '../../core/wire/handles.ts';
import type { Closed, Connection, ConnectionListener } from '../../parent/connection/connection.ts';
import { passingTo } from '../../parent/via/via-connection.ts';

/** Keeps calls until it is known which Node their context runs, which is asked when the first call comes. */
class Anteroom extends Stream {
  wanted: (() => void) | undefined;

  override whenOpen(go: () => void, fail: (error: Error) => void): () => void {
    const withdraw = super.whenOpen(go, fail);
    this.wanted?.();
    this.wanted = undefined;
    return withdraw;
  }
}

/** The way to a context of a tree that this process has joined: it is there already. */
export class AttachedConnection implements Connection {
  readonly stream: Anteroom;
  readonly booted: Observable<string> = of('');
  readonly closed: Observable<Closed>;
  readonly #scope: MailboxScope;
  readonly #id: number;
  readonly #listener: ConnectionListener;
  readonly #closed = new ReplaySubject<Closed>(1);
  #ended = false;
  #stopping = false;

  /** @param up - the stream to the listener */
  constructor(scope: MailboxScope, id: number, up: Stream, listener: ConnectionListener) {
    const { router } = scope;
    this.#scope = scope;
    this.#id = id;
    this.#listener = listener;
    this.closed = this.#closed;
    this.stream = new Anteroom(router.broker, id, router.maxMessageSize);
    this.stream.wanted = () => {
      this.#askVersion(up);
    };
  }

  shutdown(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    const { router } = this.#scope;
    router.send({ dstId: this.#id, srcId: router.id, handle: SHUTDOWN, replyTo: 0, data: Buffer.alloc(0) });
  }

  detach(): void {
    throw new UsageError('ERR_TENDRIL_ATTACHED', 'a process that has attached cannot detach contexts: call a function there that uses detach() of tendril');
  }

  /** The context, or the way to it, is gone. */
  end(reason: 'shutdown' | 'lost'): void {
    if (this.#ended) return;
    this.#ended = true;
    const end: Closed = { reason: this.#stopping ? 'shutdown' : reason };
    this.#listener.onEnding(end.reason, undefined);
    this.stream.disconnect();
    this.#closed.next(end);
    this.#closed.complete();
  }

  /** Any Node tells its version by a function that it has, and nothing else need be there for that. */
  #askVersion(up: Stream): void {
    const open = (version: string): void => {
      this.#listener.onBooted?.(version);
      this.stream.open(passingTo(up), () => undefined);
    };
    const target = { calls: 0, contextId: this.#id, name: '', ready: true, chains: new Map<string, Error>(), whenReady: () => undefined, prepare: () => undefined };
    invoke<unknown>(this.#scope, { target, ref: () => ({ module: 'node:vm', className: null, name: 'runInThisContext' }), args: ['process.version'], chain: null }).subscribe({
      next: (version) => {
        open(typeof version === 'string' ? version : '');
      },
      // The calls that wait will see for themselves.
      error: () => {
        open('');
      },
    });
  }
}
