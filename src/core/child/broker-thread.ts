import { compileFunction } from 'node:vm';
import type { MessagePort } from 'node:worker_threads';
import { inflateRawSync } from 'node:zlib';
import { EMPTY, concat, defer } from 'rxjs';
import { NodeBroker } from '../broker/node-broker.ts';
import { PortLink } from '../broker/port-link.ts';
import type { ChildConfig } from '../config.ts';
import { LogForwarder } from '../log/forwarder.ts';
import { RateLimit } from '../log/rate-limit.ts';
import { hasParentAuthority } from '../mailbox/policy.ts';
import { Router } from '../routing/router.ts';
import { Stream } from '../routing/stream.ts';
import { IS_DEAD } from '../wire/frame.ts';
import { encodeFrame } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { HUNG_AFTER_MS, endProcess, shutdownChildren } from '../shutdown.ts';
import { LOAD_PART, SHUTDOWN } from '../wire/handles.ts';
import { deadError, decodeValue, encodeValue } from '../wire/values.ts';
import { BrokerLease } from './broker-lease.ts';
import { BrokerLink } from './broker-link.ts';
import type { Part, PartHost } from './part-host.ts';
import { SharedState } from './shared-state.ts';
import type { MainControl } from './thread-control.ts';
import { traceTo } from '../log/trace.ts';
import { watchParent } from './watch-parent.ts';

/** What the main thread hands to the broker thread. */
export interface BrokerThreadData {
  readonly config: ChildConfig;
  readonly memory: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** Drops and faults that are logged; a hostile peer must not fill the log. */
const MAX_LOGGED_DROPS = 20;
const LOGGED_DROPS_MS = 10_000;

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
  readonly #port: MessagePort;
  readonly #link: BrokerLink;
  readonly #lease: BrokerLease;
  readonly #host: PartHost;
  /** Chunks of the main thread's that are routed but perhaps not written. */
  #chunks = 0;
  /** Chunks that this thread has read from the parent. */
  #heard = 0;
  #ending = false;

  constructor(core: Uint8Array, { config, memory, port }: BrokerThreadData) {
    this.#config = config;
    this.#state = new SharedState(memory);
    this.#router = new Router(this.#broker, config);
    this.#parent = new Stream(this.#broker, config.parentIds[0] ?? 0, config.maxMessageSize, config.bulkRate);
    this.#main = new Stream(this.#broker, config.id, config.maxMessageSize);
    this.#port = port;
    this.#link = new BrokerLink(this.#state, this.#broker, config.readBufferSize);
    this.#lease = new BrokerLease(this.#state, this.#broker, this.#link, this.#parent, (control) => {
      // Behind everything that was read for the main thread.
      this.#main.flush();
      port.postMessage(control);
      this.#state.countMail();
    });
    this.#host = {
      router: this.#router,
      config,
      core,
      recall: () => {
        port.postMessage('recall');
      },
      Stream,
      encodeFrame,
      encodeValue,
      decodeValue,
      deadError,
    };
    traceTo(config.trace, 'broker');
  }

  /** Begins to route, and to look after the main thread. */
  start(): void {
    const { table } = this.#router;
    table.parent = this.#parent;
    table.twin = this.#main;
    this.#router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: (message) => { if (message.replyTo !== IS_DEAD) this.#shutdown(); } });
    this.#router.addHandler(LOAD_PART, { policy: hasParentAuthority, deliver: (message) => { if (message.replyTo !== IS_DEAD) this.#loadPart(message.data); } });
    this.#logDrops();
    this.#parent.closed.subscribe(() => {
      // One that is detached has let go of its parent.
      if (table.parent) this.#shutdown();
    });
    this.#router.add(this.#main);
    this.#router.add(this.#parent);
    const fromMain = new PortLink(this.#port, true, (control) => {
      this.#onControl(control as MainControl);
    }, () => {
      this.#state.countMail();
    });
    this.#router.open(this.#main, fromMain, undefined, (batch) => {
      this.#fromMain(batch);
    });
    this.#router.open(this.#parent, this.#link, undefined, (batch) => {
      this.#heard++;
      this.#router.receive(batch, this.#parent);
    });
    watchParent(this.#broker, this.#config.keepalive, () => this.#heard + this.#state.dispatches, () => { this.#shutdown(); });
    this.#lease.start();
  }

  /** This context is to have children; what that takes is not in the core. */
  #loadPart(packed: Uint8Array): void {
    this.#lease.parental = true;
    const part = compileFunction(String(inflateRawSync(packed)), ['require', 'host', 'packed'], { filename: 'tendril-part' }) as Part;
    part((id) => process.getBuiltinModule(id), this.#host, packed);
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
    const limit = new RateLimit(MAX_LOGGED_DROPS, LOGGED_DROPS_MS);
    this.#router.events.subscribe((event) => {
      if (event.type === 'message-dropped' && !this.#router.gate && limit.admits(this.#broker.now())) log.record('tendril', 'warn', `dropped a message for handle ${String(event.handle)}: ${event.why}`);
    });
    this.#broker.faults.subscribe(({ error, where }) => {
      if (limit.admits(this.#broker.now())) log.record('tendril', 'error', `${where}: ${String(error)}`);
    });
  }

  #onControl(control: MainControl): void {
    if (this.#lease.onControl(control)) return;
    if (control === 'finished') this.#finish();
    else if (control === 'shutdown') this.#shutdown();
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
    concat(shutdownChildren(this.#router, this.#config.graceMs), this.#host.reaped ?? EMPTY, defer(() => this.#parent.drained)).subscribe({
      complete: () => {
        endProcess(this.#broker);
      },
    });
  }
}
