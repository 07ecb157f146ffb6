import type { Observable } from 'rxjs';
import type { Stream } from '../../core/routing/stream.ts';
import type { ExitStatus, OutputChunk } from './transport.ts';

/** How a context came to its end. */
export interface Closed {
  /**
   * `shutdown`: as asked. `failed`: it never connected. `lost`: it or the way to it ended by itself. `detached`: it, or the
   * context by way of which it was made, goes on without us.
   */
  readonly reason: 'shutdown' | 'failed' | 'lost' | 'detached';
  /** The ConnectError, or what broke the link. */
  readonly error?: Error;
  /** How its process ended, where that is known. */
  readonly exit?: ExitStatus;
}

/** What a connection tells while it lives. */
export interface ConnectionListener {
  /** A line of raw output of the process or of its subprocesses. */
  onOutput(stream: OutputChunk['stream'], line: string): void;
  /** The context is there. Called before anything that it sends is looked at. */
  onBooted?(nodeVersion: string): void;
  /** Nothing can come from the context any more. Called before the router hears of it. */
  onEnding(reason: Closed['reason'], error: Error | undefined): void;
}

/** The way to a context that this process has started or has had started, from its beginning to its end. */
export interface Connection {
  /** Takes messages and those who wait from the first moment on; opens when the context is there. */
  readonly stream: Stream;
  /** Emits the version of Node there, such as `v20.20.2`, once the context is there; errors with a ConnectError. Replays. */
  readonly booted: Observable<string>;
  /** Emits once, when nothing of the context is left; then completes. Replays, never errors. */
  readonly closed: Observable<Closed>;
  /** Ends the context in order, and by force when that takes longer than the grace. */
  shutdown(): void;
  /** Has the context, which is there, go on without us. */
  detach(): void;
}
