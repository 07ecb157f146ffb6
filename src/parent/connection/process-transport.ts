import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { AsyncSubject, Subject } from 'rxjs';
import type { Observable, Subscription } from 'rxjs';
import type { Broker, Link } from '../../core/broker/broker.ts';
import type { ExitStatus, OutputChunk, Transport } from './transport.ts';

/** How long output is waited for after a process has ended: a subprocess that inherited a pipe may hold it for ever. */
const OUTPUT_AFTER_EXIT_MS = 250;

type OutputStreams = Readonly<Partial<Record<OutputChunk['stream'], Readable | null>>>;

/** The transport of a process that we spawned. */
export class ProcessTransport implements Transport {
  readonly link: Link;
  readonly output: Observable<OutputChunk>;
  readonly exited: Observable<ExitStatus>;
  readonly #child: ChildProcess;
  readonly #group: boolean;
  readonly #ended = new AsyncSubject<ExitStatus>();

  /**
   * @param child - spawned, and running
   * @param link - its protocol
   * @param group - true when it leads a process group of its own, which is then killed with it
   * @param streams - what it prints; default its stdout and stderr
   */
  constructor(child: ChildProcess, link: Link, broker: Broker, group: boolean, streams: OutputStreams = { stdout: child.stdout, stderr: child.stderr }) {
    this.#child = child;
    this.#group = group;
    this.link = link;
    this.exited = this.#ended.asObservable();
    this.output = outputOf(streams, this.#ended, broker);
    child.once('exit', (code, signal) => {
      this.#end({ code, signal });
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
    } catch (error) {
      // Either it has just ended, or it runs as another account (sudo, su) and is out of our reach.
      if ((error as { code?: string }).code === 'EPERM' && signal === 'SIGKILL') this.#letGo();
    }
  }

  /** Nothing of ours reaches it any more; it has lost its connection, and with that its reason to run. */
  #letGo(): void {
    this.link.destroy();
    for (const stream of this.#child.stdio) stream?.destroy();
    this.#child.unref();
    this.#end({ code: null, signal: null });
  }

  #end(status: ExitStatus): void {
    this.#ended.next(status);
    this.#ended.complete();
  }
}

/** Merges the output streams of a process; completes when all are read, or a moment after the process has ended. */
function outputOf(streams: OutputStreams, exited: Observable<ExitStatus>, broker: Broker): Observable<OutputChunk> {
  const output = new Subject<OutputChunk>();
  const open = new Set<Readable>();
  let waiting: Subscription | undefined;
  const closed = (stream: Readable): void => {
    if (!open.delete(stream) || open.size > 0) return;
    waiting?.unsubscribe();
    output.complete();
  };
  for (const [name, stream] of Object.entries(streams) as [OutputChunk['stream'], Readable | null][]) {
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
