import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { AsyncSubject, Subject } from 'rxjs';
import type { Observable, Subscription } from 'rxjs';
import type { Broker, Link } from '../../core/broker/broker.ts';
import type { ExitStatus, OutputChunk, Transport } from './transport.ts';

/** How long output is waited for after a process has ended: a subprocess that inherited a pipe may hold it for ever. */
const OUTPUT_AFTER_EXIT_MS = 250;

/** The transport of a process that we spawned. */
export class ProcessTransport implements Transport {
  readonly link: Link;
  readonly output: Observable<OutputChunk>;
  readonly exited: Observable<ExitStatus>;
  readonly #child: ChildProcess;
  readonly #group: boolean;

  /**
   * @param child - spawned, and running
   * @param link - its protocol
   * @param group - true when it leads a process group of its own, which is then killed with it
   */
  constructor(child: ChildProcess, link: Link, broker: Broker, group: boolean) {
    this.#child = child;
    this.#group = group;
    this.link = link;
    const exited = new AsyncSubject<ExitStatus>();
    this.exited = exited.asObservable();
    this.output = outputOf({ stdout: child.stdout, stderr: child.stderr }, exited, broker);
    child.once('exit', (code, signal) => {
      exited.next({ code, signal });
      exited.complete();
    });
  }

  release(): void {
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    this.#child.unref();
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    try {
      process.kill(this.#group ? -pid : pid, signal);
    } catch {
      // It has just ended.
    }
  }
}

/** Merges the output streams of a process; completes when all are read, or a moment after the process has ended. */
function outputOf(streams: Record<'stdout' | 'stderr', Readable | null>, exited: Observable<ExitStatus>, broker: Broker): Observable<OutputChunk> {
  const output = new Subject<OutputChunk>();
  const open = new Set<Readable>();
  let waiting: Subscription | undefined;
  const closed = (stream: Readable): void => {
    if (!open.delete(stream) || open.size > 0) return;
    waiting?.unsubscribe();
    output.complete();
  };
  for (const [name, stream] of Object.entries(streams) as ['stdout' | 'stderr', Readable | null][]) {
    if (stream === null) continue;
    open.add(stream);
    stream.on('data', (bytes: Uint8Array) => {
      output.next({ stream: name, bytes });
    });
    for (const event of ['end', 'close', 'error']) stream.on(event, () => { closed(stream); });
  }
  if (open.size === 0) output.complete();
  exited.subscribe(() => {
    if (open.size === 0) return;
    waiting = broker.after(OUTPUT_AFTER_EXIT_MS, () => {
      for (const stream of [...open]) stream.destroy();
    });
  });
  return output.asObservable();
}
