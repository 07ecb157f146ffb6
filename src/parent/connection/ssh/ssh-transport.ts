import type { Socket } from 'node:net';
import { AsyncSubject, Observable, merge, take } from 'rxjs';
import type { Client, ClientChannel } from 'ssh2';
import type { Broker, Link } from '../../../core/broker/broker.ts';
import { StreamLink } from '../../../core/broker/node-io.ts';
import type { ExitStatus, OutputChunk, Transport } from '../transport.ts';

/** Milliseconds that a goodbye may take before the socket is closed under it. */
const GOODBYE_MS = 2000;

/** Milliseconds that a process has to heed SIGTERM before it gets SIGKILL. */
const TERM_GRACE_MS = 1000;

/**
 * sshd loses a signal without a word when the process is so young that it has no group of its own yet; so SIGKILL is
 * sent again after this many milliseconds, this often, before the connection is dropped.
 */
const KILL_AGAIN_MS = 200;
const KILLS = 5;

/** The protocol on a channel's stdin and stdout; the connection goes with it. */
class ChannelLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly paced = true;
  readonly volatile: boolean;
  readonly drained: Observable<void>;
  readonly #stream: StreamLink;
  readonly #hangUp: () => void;

  constructor(channel: ClientChannel, hangUp: () => void) {
    this.#stream = new StreamLink(channel, channel);
    this.#hangUp = hangUp;
    this.chunks = this.#stream.chunks;
    this.volatile = this.#stream.volatile;
    // ssh2 never calls back a write that waits for window when the channel or the connection goes.
    const closed = new AsyncSubject<void>();
    channel.once('close', () => {
      closed.next();
      closed.complete();
    });
    this.drained = merge(closed, this.#stream.drained).pipe(take(1));
  }

  get pendingBytes(): number {
    return this.#stream.pendingBytes;
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    this.#stream.write(parts, written);
  }

  end(): void {
    this.#stream.end();
  }

  destroy(): void {
    this.#stream.destroy();
    this.#hangUp();
  }
}

/** A process behind one ssh connection of its own. */
export class SshTransport implements Transport {
  readonly link: Link;
  readonly output: Observable<OutputChunk>;
  readonly exited: Observable<ExitStatus>;
  readonly #client: Client;
  readonly #socket: Socket;
  readonly #channel: ClientChannel;
  readonly #broker: Broker;
  #killTimer: { unsubscribe(): void } | undefined;
  /** The process has ended, as far as the server said. */
  #exited = false;
  /** We have said goodbye. */
  #hungUp = false;
  /** The connection is closed. */
  #gone = false;

  /** Takes over a connection, in the callback in which `channel` arrives: exit may be the next packet. */
  constructor(client: Client, socket: Socket, channel: ClientChannel, broker: Broker) {
    this.#client = client;
    this.#socket = socket;
    this.#channel = channel;
    this.#broker = broker;
    const exited = new AsyncSubject<ExitStatus>();
    this.exited = exited.asObservable();
    const settle = (status: ExitStatus): void => {
      this.#exited = true;
      exited.next(status);
      exited.complete();
    };
    channel.on('exit', (code: number | null, signal?: string) => {
      settle({ code, signal: signal ?? null });
    });
    channel.on('close', () => {
      settle({ code: null, signal: null });
      this.#hangUp();
    });
    client.on('close', () => {
      this.#gone = true;
      this.#killTimer?.unsubscribe();
      settle({ code: null, signal: null });
    });
    if (socket.destroyed) settle({ code: null, signal: null });
    this.link = new ChannelLink(channel, () => {
      this.#hangUp();
    });
    this.output = outputOf(channel);
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.#gone || this.#hungUp) return;
    // After our end of file ssh2 sends no signals; then only the loss of the connection is left.
    if (!this.#channel.writable) {
      this.#hangUp();
      return;
    }
    this.#channel.signal(signal.slice('SIG'.length));
    this.#killLater(signal === 'SIGTERM' ? TERM_GRACE_MS : KILL_AGAIN_MS, KILLS);
  }

  #killLater(milliseconds: number, left: number): void {
    this.#killTimer?.unsubscribe();
    this.#killTimer = this.#broker.after(milliseconds, () => {
      if (this.#exited || left === 0) {
        this.#hangUp();
        return;
      }
      this.#channel.signal('KILL');
      this.#killLater(KILL_AGAIN_MS, left - 1);
    });
  }

  /** Ends the connection; what was written before still goes out. */
  #hangUp(): void {
    if (this.#hungUp || this.#gone) return;
    this.#hungUp = true;
    this.#killTimer?.unsubscribe();
    this.#channel.close();
    this.#client.end();
    // A dead network would keep the half-closed socket for many minutes.
    const goodbye = this.#broker.after(GOODBYE_MS, () => {
      this.#socket.destroy();
    });
    this.#client.once('close', () => {
      goodbye.unsubscribe();
    });
  }
}

/** stderr, held back until someone subscribes; after that it is always read, because it shares its window with stdout. */
function outputOf(channel: ClientChannel): Observable<OutputChunk> {
  const { stderr } = channel;
  return new Observable((subscriber) => {
    const onData = (bytes: Uint8Array): void => {
      subscriber.next({ stream: 'stdio', bytes });
    };
    const onEnd = (): void => {
      subscriber.complete();
    };
    stderr.on('data', onData).on('end', onEnd).on('close', onEnd).on('error', onEnd);
    if (stderr.readableEnded || stderr.destroyed) subscriber.complete();
    return () => {
      stderr.off('data', onData).off('end', onEnd).off('close', onEnd).off('error', onEnd);
      stderr.resume();
    };
  });
}
