import type { Observable } from 'rxjs';
import type { Broker, Link } from '../../core/broker/broker.ts';
import type { ExitEvidence } from './classify-exit.ts';
import type { ConnectError } from './connect-error.ts';

/** How a process ended. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: string | null;
}

/** Raw output of a context's process. `stdio` means that stdout and stderr arrive merged. */
export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr' | 'stdio';
  readonly bytes: Uint8Array;
}

/** A started process that runs the first stage, seen from its parent. */
export interface Transport {
  /** The protocol: our writes are its fd 3, its fd 4 is what arrives. Noise may come before the marker. */
  readonly link: Link;
  /** What it and its subprocesses write; hot: subscribe as soon as you have the transport. Completes when all is read. */
  readonly output: Observable<OutputChunk>;
  /** Emits once when the process has ended, then completes; replays. Never errors. */
  readonly exited: Observable<ExitStatus>;
  /** Ends the process by force, or, where no signal can reach it, drops its connection. Harmless when it has ended. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void;
  /** Why it ended before its context was up, where the method knows more than {@link classifyExit}. */
  explain?(evidence: ExitEvidence): ConnectError;
  /** Lets go of a process that goes on without us: closes what we have of it beside the link, and does not wait for its end. */
  release?(): void;
}

/** The first stage in both forms that connection methods need (src/parent/bootstrap/first-stage.ts). */
export interface FirstStage {
  /** One line for the login shell of the target, whatever shell that is. */
  readonly shellLine: string;
  /** Arguments for a program that takes a command as an argument list: `sh -c ...`. */
  readonly argv: readonly string[];
}

/**
 * A connection method: a cold observable that starts the process on subscription, emits its transport once and
 * completes; errors with a ConnectError; unsubscribing before it has emitted undoes everything.
 */
export type Open<Options> = (options: Options, stage: FirstStage, broker: Broker) => Observable<Transport>;
