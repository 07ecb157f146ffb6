import type { MessagePort } from 'node:worker_threads';
import { concat, defer } from 'rxjs';
import { NodeBroker } from '../broker/node-broker.ts';
import { PortLink } from '../broker/port-link.ts';
import type { ChildConfig } from '../config.ts';
import { LogForwarder } from '../log/forwarder.ts';
import { hasParentAuthority } from '../mailbox/policy.ts';
import { Router } from '../routing/router.ts';
import { Stream } from '../routing/stream.ts';
import type { Message } from '../wire/frame.ts';
import { HUNG_AFTER_MS, endProcess, shutdownChildren } from '../shutdown.ts';
import { SHUTDOWN } from '../wire/handles.ts';
import { BrokerLink } from './broker-link.ts';
import { SharedState } from './shared-state.ts';
import { traceTo } from '../log/trace.ts';

/** What the main thread hands to the broker thread. */
export interface BrokerThreadData {
  readonly config: ChildConfig;
  readonly memory: SharedArrayBuffer;
  readonly port: MessagePort;
  /** Bytes that the main thread has read but not handled. */
  readonly unread: Uint8Array;
}

/** What the threads tell each other beside frames. */
export type ThreadControl = 'flush' | 'finished';

/** Drops that are logged; a hostile peer must not fill the log. */
const MAX_LOGGED_DROPS = 20;

/**
 * The broker thread of a child: owns the descriptors, routes, and ends the process. It goes on doing so while user code
 * keeps the main thread busy for ever.
 */
export class BrokerThread {
  readonly #broker = new NodeBroker();
  readonly #router: Router;
  readonly #parent: Stream;
  readonly #main: Stream;
  readonly #state: SharedState;
  readonly #config: ChildConfig;
  readonly #unread: Uint8Array;
  readonly #port: MessagePort;
  /** Chunks of the main thread's that are routed but perhaps not written. */
  #chunks = 0;
  #ending = false;

  constructor({ config, memory, port, unread }: BrokerThreadData) {
    this.#config = config;
    this.#unread = unread;
    this.#state = new SharedState(memory);
    this.#router = new Router(this.#broker, config);
    this.#parent = new Stream(this.#broker, config.parentIds[0] ?? 0, config.maxMessageSize);
    this.#main = new Stream(this.#broker, config.id, config.maxMessageSize);
    this.#port = port;
    traceTo(config.trace, 'broker');
  }

  /** Takes over what the main thread has stopped to read. */
  start(): void {
    const { table } = this.#router;
    table.parent = this.#parent;
    table.twin = this.#main;
    this.#router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: () => { this.#shutdown(); } });
    this.#logDrops();
    this.#parent.closed.subscribe(() => {
      this.#shutdown();
    });
    this.#router.add(this.#main);
    this.#router.add(this.#parent);
    const fromMain = new PortLink(this.#port, true, (control) => {
      this.#onControl(control as ThreadControl);
    });
    // The main stream first: what is unread may be for it.
    this.#router.open(this.#main, fromMain, undefined, (batch) => {
      this.#fromMain(batch);
    });
    this.#router.open(this.#parent, new BrokerLink(this.#state, this.#broker, this.#config.readBufferSize), this.#unread);
  }

  /** Routes a chunk of the main thread's, and lets it write by itself again when that is written. */
  #fromMain(batch: readonly Message[]): void {
    this.#router.receive(batch, this.#main);
    this.#chunks++;
    if (this.#chunks > 1) return;
    this.#broker.defer(() => {
      this.#settleChunks();
    });
  }

  #settleChunks(): void {
    const chunks = this.#chunks;
    this.#chunks = 0;
    this.#parent.drained.subscribe(() => {
      this.#state.written(chunks);
    });
  }

  #logDrops(): void {
    const log = new LogForwarder(this.#router, this.#config.parentIds.at(-1) ?? 0, this.#config.logLevel, () => {
      this.#parent.flush();
    });
    let drops = 0;
    this.#router.events.subscribe((event) => {
      if (event.type === 'message-dropped' && drops++ < MAX_LOGGED_DROPS) log.record('tendril', 'warn', `dropped a message for handle ${String(event.handle)}: ${event.why}`);
    });
    this.#broker.faults.subscribe(({ error, where }) => {
      log.record('tendril', 'error', `${where}: ${String(error)}`);
    });
  }

  #onControl(control: ThreadControl): void {
    this.#main.flush();
    if (control === 'finished') this.#finish();
    else this.#parent.drained.subscribe(() => {
      this.#state.flushed();
    });
  }

  /** Orderly as long as the main thread takes part; by force when it hangs or takes too long. */
  #shutdown(): void {
    if (this.#ending) return;
    this.#ending = true;
    const { id } = this.#config;
    this.#main.send({ dstId: id, srcId: id, handle: SHUTDOWN, replyTo: 0, data: Buffer.alloc(0) });
    shutdownChildren(this.#router, this.#config.graceMs).subscribe();
    this.#broker.after(HUNG_AFTER_MS, () => {
      if (!this.#state.answered) endProcess(this.#broker);
    });
    this.#broker.after(this.#config.graceMs, () => {
      endProcess(this.#broker);
    });
  }

  #finish(): void {
    concat(shutdownChildren(this.#router, this.#config.graceMs), defer(() => this.#parent.drained)).subscribe({
      complete: () => {
        endProcess(this.#broker);
      },
    });
  }
}
