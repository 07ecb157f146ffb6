import { AsyncSubject, EMPTY, Observable, Subject, concat, defer } from 'rxjs';
import type { Fault } from '../src/core/broker/broker.ts';
import { seededRandom, seededSplitter } from '../src/core/broker/seeded.ts';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import { virtualLinks } from '../src/core/broker/virtual-link.ts';
import type { VirtualLinks } from '../src/core/broker/virtual-link.ts';
import type { ChildConfig } from '../src/core/config.ts';
import { Context } from '../src/core/context.ts';
import type { ContextScope } from '../src/core/context.ts';
import { hasParentAuthority } from '../src/core/mailbox/policy.ts';
import { Router } from '../src/core/routing/router.ts';
import { Stream } from '../src/core/routing/stream.ts';
import { shutdownChildren } from '../src/core/shutdown.ts';
import { HEADER_LENGTH, IS_DEAD } from '../src/core/wire/frame.ts';
import { LOAD_PART, SHUTDOWN } from '../src/core/wire/handles.ts';
import { decodeValue } from '../src/core/wire/values.ts';
import type { ConnectedContext } from '../src/parent/connected-context.ts';
import { Admission } from '../src/parent/connection/admission.ts';
import { DirectConnection } from '../src/parent/connection/direct-connection.ts';
import type { Method } from '../src/parent/connection/methods.ts';
import type { ExitStatus, OutputChunk, Transport } from '../src/parent/connection/transport.ts';
import { ContextFactory } from '../src/parent/context-factory.ts';
import { ModuleForwarder } from '../src/parent/modules/module-forwarder.ts';
import { ChildRouting } from '../src/parent/routing/child-routing.ts';
import { Connector, forward } from '../src/parent/via/connector.ts';
import { PartLedger } from '../src/parent/via/part-ledger.ts';

export const GRACE_MS = 200;
export const BOOT_MS = 1000;
/** Where numbered messages go, down and back up. */
export const NUMBERS = 2000;
const IDS = 100;
const MAX_MESSAGE = 1024 * 1024;
const CORE = Buffer.from('the core, compressed');
const PART = new Uint8Array([1]);

/** How a process behaves. */
export interface Temper {
  readonly bootMs: number;
  /** Neither starts nor ends by itself. */
  readonly isStuck: boolean;
  /** Ends before it says anything. */
  readonly failsAtOnce: boolean;
  /** Does nothing about SHUTDOWN and the end of its stream. */
  readonly isDeaf: boolean;
}

/** A process with a core, in virtual time: boots as docs/protocol.md says, and has children as a real one has. */
export class VirtualProcess implements Transport {
  readonly link;
  readonly output: Observable<OutputChunk>;
  readonly exited: Observable<ExitStatus>;
  readonly links: VirtualLinks;
  readonly temper: Temper;
  /** Numbers that have come from the root. */
  readonly numbers: number[] = [];
  isAlive = true;
  router: Router | undefined;
  #connector: Connector | undefined;
  #got: Buffer = Buffer.alloc(0);
  #isEnding = false;
  readonly #world: World;
  readonly #output = new Subject<OutputChunk>();
  readonly #exited = new AsyncSubject<ExitStatus>();

  constructor(world: World, links: VirtualLinks, temper: Temper) {
    this.#world = world;
    this.links = links;
    this.link = links.left;
    this.output = this.#output.asObservable();
    this.exited = this.#exited.asObservable();
    this.temper = temper;
    const { broker } = world;
    broker.after(temper.bootMs, () => {
      if (temper.failsAtOnce) this.die('SIGABRT');
      else if (this.isAlive && !temper.isStuck) this.#boot();
    });
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.die(signal);
  }

  die(signal: string): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.router?.close();
    for (const stream of this.router?.streams ?? []) stream.disconnect();
    this.links.right.destroy();
    this.#output.complete();
    this.#exited.next({ code: null, signal });
    this.#exited.complete();
  }

  #boot(): void {
    const { right } = this.links;
    right.write([Buffer.from('a banner\nEC0 v20.20.2;')]);
    const reading = right.chunks.subscribe({
      next: (chunk) => {
        this.#got = Buffer.concat([this.#got, chunk]);
        const config = this.#takeConfig();
        if (config === undefined) return;
        reading.unsubscribe();
        right.write([Buffer.from('EC1;')]);
        this.#run(config);
      },
      complete: () => {
        this.die('SIGHUP');
      },
    });
  }

  /** What the first stage reads, and the configuration; undefined when it is not complete. */
  #takeConfig(): ChildConfig | undefined {
    let at = 0;
    for (let block = 0; block < 2; block++) {
      if (this.#got.length < at + 4) return undefined;
      at += 4 + this.#got.readUInt32BE(at);
    }
    if (this.#got.length < at + HEADER_LENGTH) return undefined;
    const end = at + HEADER_LENGTH + this.#got.readUInt32BE(at + 12);
    if (this.#got.length < end) return undefined;
    const config = decodeValue(this.#got.subarray(at + HEADER_LENGTH, end)) as ChildConfig;
    this.#got = this.#got.subarray(end);
    return config;
  }

  #run(config: ChildConfig): void {
    const router = (this.router = new Router(this.#world.broker, config));
    const up = new Stream(router.broker, config.parentIds[0] ?? 0, config.maxMessageSize);
    router.table.parent = up;
    router.add(up);
    router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: ({ replyTo }) => { if (replyTo !== IS_DEAD) this.#shutdown(); } });
    router.addHandler(LOAD_PART, { policy: hasParentAuthority, deliver: ({ replyTo }) => { if (replyTo !== IS_DEAD) this.#raise(config); } });
    router.addHandler(NUMBERS, {
      policy: hasParentAuthority,
      deliver: (message) => {
        if (message.replyTo === IS_DEAD) return;
        this.numbers.push(Buffer.from(message.data).readUInt32BE(0));
        router.send({ dstId: 0, srcId: router.id, handle: NUMBERS, replyTo: 0, data: message.data });
      },
    });
    up.closed.subscribe(() => {
      this.#shutdown();
    });
    router.open(up, this.links.right, this.#got);
  }

  #raise(config: ChildConfig): void {
    const { router } = this;
    if (router === undefined || this.#connector) return;
    this.#connector = new Connector({
      router,
      config,
      core: CORE,
      ledger: new PartLedger(router, () => PART),
      methods: new Map([['virtual', { open: this.#world.open, again: () => 'none', eager: false }]]),
      routing: new ChildRouting(router, { warn: this.#world.warn }),
      forwarder: new ModuleForwarder(router, 'native'),
    });
  }

  #shutdown(): void {
    if (this.#isEnding || this.temper.isDeaf || this.router === undefined) return;
    this.#isEnding = true;
    const end = (): void => {
      this.die('SIGTERM');
    };
    concat(shutdownChildren(this.router, GRACE_MS), defer(() => this.#connector?.reaped ?? EMPTY)).subscribe({ complete: end });
    this.#world.broker.after(GRACE_MS, end);
  }
}

/** A root with everything that a master has for contexts of its own, and what its processes run in. */
export class World {
  readonly broker = new VirtualBroker();
  readonly faults: Fault[] = [];
  readonly warnings: string[] = [];
  readonly router: Router;
  readonly routing: ChildRouting;
  readonly factory: ContextFactory;
  /** By the name of the context. */
  readonly processes = new Map<string, VirtualProcess>();
  /** Numbers that have come back, by the context that has sent them. */
  readonly echoes = new Map<number, number[]>();
  readonly admission = new Admission(10);
  readonly #tempers = new Map<string, Temper>();
  readonly #random: () => number;
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
    this.broker.faults.subscribe((fault) => this.faults.push(fault));
    const router = (this.router = new Router(this.broker, { id: 0, parentIds: [], maxMessageSize: MAX_MESSAGE }));
    const { ids, routes } = (this.routing = new ChildRouting(router, { ids: [[1, IDS + 1]], warn: this.warn }));
    const ledger = new PartLedger(router, () => PART);
    const unused = (): never => {
      throw new Error('nothing is called here');
    };
    const scope: ContextScope = { router, reviver: { context: (id, name) => new Context(scope, id, name), sender: unused }, find: unused, callers: unused, open: unused, invoke: unused, service: unused };
    this.factory = new ContextFactory({
      scope,
      logLevel: 'info',
      graceMs: GRACE_MS,
      via: undefined,
      allocateId: () => ids.allocateNow(),
      releaseId: (id) => { ids.release(id); },
      expect: () => undefined,
      detach: () => undefined,
      stats: () => ({ sent: undefined, received: undefined, modules: undefined }),
      dropRoute: (id) => { router.removeRoutes([id], id); },
      route: (id) => router.table.get(id),
      send: (hopId, request) => {
        ids.expect(hopId, request.id);
        forward(router, ledger, hopId, request);
      },
      direct: ({ id, name, title, logLevel, profile, options, bootTimeoutMs }, listener) => {
        const config: ChildConfig = { id, parentIds: [0], name, logLevel, profile, maxMessageSize: MAX_MESSAGE, graceMs: GRACE_MS, readBufferSize: 1024, trace: 'off', unidirectional: false, keepalive: false, maxHandshakes: 10, modules: { allow: null, deny: [], local: [] } };
        const connection = new DirectConnection(router, { config, core: CORE, codeCache: () => new Uint8Array(0), eager: false, bootTimeoutMs, admission: this.admission, loadDetaching: () => undefined, booted: (version) => { routes.booted(id, version); }, attempts: [{ open: this.open({ ...options, title }, { shellLine: '', argv: [] }, this.broker) }], attach: (stream) => { routes.attach(stream, name); } }, listener);
        connection.start();
        return connection;
      },
      prepare: unused,
      onOutput: () => undefined,
    });
    router.addHandler(NUMBERS, {
      policy: () => true,
      deliver: ({ srcId, data }) => {
        const heard = this.echoes.get(srcId) ?? [];
        this.echoes.set(srcId, heard);
        heard.push(Buffer.from(data).readUInt32BE(0));
      },
    });
  }

  readonly warn = (text: string): void => {
    this.warnings.push(text);
  };

  /** The connection method: a process at the other end of a virtual link. */
  readonly open: Method['open'] = (options) =>
    new Observable((subscriber) => {
      const key = String(options['key']);
      const links = virtualLinks(this.broker, { latencyMs: () => Math.floor(this.#random() * 8), split: seededSplitter(this.#seed++, 400) });
      const process = new VirtualProcess(this, links, this.#tempers.get(key) ?? { bootMs: 0, isStuck: false, failsAtOnce: false, isDeaf: false });
      this.processes.set(key, process);
      subscriber.next(process);
      subscriber.complete();
    });

  make(key: string, temper: Temper, via: ConnectedContext | undefined): ConnectedContext {
    this.#tempers.set(key, temper);
    return this.factory.make('virtual', { name: key, key, bootTimeoutMs: BOOT_MS, ...(via && { via }) } as object, key);
  }

  send(context: ConnectedContext, number: number): void {
    const data = Buffer.alloc(4);
    data.writeUInt32BE(number);
    this.router.send({ dstId: context.id, srcId: 0, handle: NUMBERS, replyTo: 0, data });
  }
}
