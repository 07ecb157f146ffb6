import { AsyncSubject, Observable, concatMap, from, ignoreElements } from 'rxjs';
import type { Link } from '../../src/core/broker/broker.ts';
import { seededRandom } from '../../src/core/broker/seeded.ts';
import { VirtualBroker } from '../../src/core/broker/virtual-broker.ts';
import { virtualLinks } from '../../src/core/broker/virtual-link.ts';
import type { VirtualLinks } from '../../src/core/broker/virtual-link.ts';
import { invoke } from '../../src/core/call/invoke.ts';
import { watchParent } from '../../src/core/child/watch-parent.ts';
import type { ChildConfig, Keepalive } from '../../src/core/config.ts';
import { Context } from '../../src/core/context.ts';
import type { ContextScope } from '../../src/core/context.ts';
import { hasParentAuthority } from '../../src/core/mailbox/policy.ts';
import { Router } from '../../src/core/routing/router.ts';
import { Stream } from '../../src/core/routing/stream.ts';
import { SHUTDOWN } from '../../src/core/wire/handles.ts';
import { bootstrapParts } from '../../src/parent/bootstrap/parts.ts';
import type { ConnectedContext } from '../../src/parent/connected-context.ts';
import { Admission } from '../../src/parent/connection/admission.ts';
import { ConnectError } from '../../src/parent/connection/connect-error.ts';
import { DirectConnection } from '../../src/parent/connection/direct-connection.ts';
import type { ExitStatus, Transport } from '../../src/parent/connection/transport.ts';
import { ContextFactory } from '../../src/parent/context-factory.ts';
import type { ContextOptions } from '../../src/parent/context-options.ts';
import { ChildRouting } from '../../src/parent/routing/child-routing.ts';
import { MAX_ID } from '../../src/parent/routing/id-pool.ts';
import { ParentRouter } from '../../src/parent/routing/parent-router.ts';

const VERSION = 'v24.0.0';
const MAX_MESSAGE = 1024 * 1024;
const NOTHING = new Uint8Array(0);

/** What a fleet is like. */
export interface FleetOptions {
  readonly seed?: number;
  readonly keepalive?: Keepalive | false;
  readonly maxHandshakes?: number;
  /** Milliseconds that a boot takes, at most. */
  readonly bootMs?: number;
}

/** A process that was started: the other end of a connection, with a real router of its own. */
export class SimulatedChild {
  readonly links: VirtualLinks;
  readonly exited: Observable<ExitStatus>;
  /** When it began, in virtual time. */
  readonly begunAt: number;
  router: Router | undefined;
  /** It has ended itself because it heard nothing. */
  orphaned = false;
  alive = true;
  readonly #exited = new AsyncSubject<ExitStatus>();

  constructor(links: VirtualLinks, begunAt: number) {
    this.exited = this.#exited.asObservable();
    this.links = links;
    this.begunAt = begunAt;
  }

  /** From now on nothing gets through, and nobody is told. */
  drop(): void {
    this.links.latencyMs = () => Infinity;
  }

  /** The process ends. */
  die(code: number | null = 0, signal: string | null = null): void {
    if (!this.alive) return;
    this.alive = false;
    this.router?.close();
    this.links.right.destroy();
    this.#exited.next({ code, signal });
    this.#exited.complete();
  }
}

/** A process that makes contexts, with children that are simulated, all in virtual time. */
export class VirtualFleet {
  readonly broker = new VirtualBroker();
  readonly router: ParentRouter;
  readonly factory: ContextFactory;
  readonly routing: ChildRouting;
  readonly admission: Admission;
  readonly children: SimulatedChild[] = [];
  readonly faults: string[] = [];
  /** Called for each attempt; an error fails it. */
  refuse: (attempt: number) => ConnectError | undefined = () => undefined;
  /** How many boots are under way, and were at most. */
  booting = 0;
  mostBooting = 0;
  attempts = 0;
  readonly #options: FleetOptions;
  readonly #random: () => number;

  constructor(options: FleetOptions = {}) {
    this.#options = options;
    this.#random = seededRandom(options.seed ?? 1);
    this.admission = new Admission(options.maxHandshakes ?? 10);
    this.broker.faults.subscribe(({ error, where }) => this.faults.push(`${where}: ${String(error)}`));
    const { broker } = this;
    this.router = new ParentRouter(broker, { id: 0, parentIds: [], maxMessageSize: MAX_MESSAGE });
    this.routing = new ChildRouting(this.router, { ids: [[1, MAX_ID + 1]], directory: this.router.directory, quarantineMs: 1000, warn: (text) => this.faults.push(text) });
    const scope: ContextScope = {
      router: this.router,
      reviver: { context: (id, name) => new Context(scope, id, name), sender: () => undefined },
      find: () => ({ module: 'node:os', className: null, name: 'uptime' }),
      open: () => undefined,
      invoke,
    };
    this.factory = new ContextFactory({
      scope,
      logLevel: 'info',
      graceMs: 100,
      via: undefined,
      allocateId: () => this.routing.ids.allocateNow(),
      releaseId: (id) => {
        this.routing.ids.release(id);
      },
      dropRoute: () => undefined,
      expect: () => undefined,
      stats: () => ({ sent: undefined, received: undefined, modules: undefined }),
      send: () => undefined,
      detach: () => undefined,
      route: (id) => this.router.table.get(id),
      prepare: () => undefined,
      onOutput: () => undefined,
      direct: ({ id, name, logLevel, profile, bootTimeoutMs, keepalive = options.keepalive ?? false }, listener) => {
        const config = { id, name, parentIds: [0], logLevel, profile, keepalive, maxHandshakes: 10, maxMessageSize: MAX_MESSAGE, graceMs: 100, readBufferSize: 65_536, trace: 'off', unidirectional: false, modules: {} as ChildConfig['modules'] } as const;
        const connection = new DirectConnection(
          this.router,
          {
            config,
            core: NOTHING,
            codeCache: () => NOTHING,
            eager: false,
            bootTimeoutMs,
            admission: this.admission,
            attach: (stream) => {
              this.routing.routes.attach(stream, name);
            },
            booted: (version) => {
              this.routing.routes.booted(id, version);
            },
            loadDetaching: () => undefined,
            attempts: [{ open: this.#open(config) }],
          },
          listener,
        );
        connection.start();
        return connection;
      },
    });
  }

  make(options: ContextOptions = {}): ConnectedContext {
    return this.factory.make('local', options, 'local');
  }

  #open(config: ChildConfig): Observable<Transport> {
    return new Observable((subscriber) => {
      const refusal = this.refuse(++this.attempts);
      if (refusal) {
        subscriber.error(refusal);
        return;
      }
      this.mostBooting = Math.max(this.mostBooting, ++this.booting);
      const links = virtualLinks(this.broker, { latencyMs: 1 });
      const child = new SimulatedChild(links, this.broker.now());
      this.children.push(child);
      subscriber.next({
        link: links.left,
        output: child.exited.pipe(ignoreElements()),
        exited: child.exited,
        kill: (signal) => {
          child.die(null, signal);
        },
      });
      subscriber.complete();
      this.broker.after(1 + this.#random() * (this.#options.bootMs ?? 100), () => {
        this.booting--;
        if (!child.alive) return;
        links.right.write([Buffer.from(`EC0 ${VERSION};EC1;`)]);
        this.#run(child, config);
      });
    });
  }

  /** What the core does in a child, as far as it matters here. */
  #run(child: SimulatedChild, config: ChildConfig): void {
    const router = (child.router = new Router(this.broker, config));
    const parent = new Stream(this.broker, 0, MAX_MESSAGE);
    router.table.parent = parent;
    router.add(parent);
    const end = (): void => {
      this.broker.after(0, () => {
        child.die();
      });
    };
    router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: end });
    parent.closed.subscribe(end);
    let chunks = 0;
    const link = behind(child.links.right, bootstrapParts(NOTHING, NOTHING, config).reduce((sum, { length }) => sum + length, 0));
    router.open(parent, link, undefined, (batch) => {
      chunks++;
      router.receive(batch, parent);
    });
    watchParent(this.broker, config.keepalive, () => chunks, () => {
      child.orphaned = true;
      end();
    });
  }
}

/** A link without its first bytes, which the first stage reads. */
function behind(link: Link, bytes: number): Link {
  let left = bytes;
  const chunks = link.chunks.pipe(concatMap((chunk) => {
    const skipped = Math.min(left, chunk.length);
    left -= skipped;
    return from(skipped === chunk.length ? [] : [chunk.subarray(skipped)]);
  }));
  return {
    chunks,
    volatile: false,
    get pendingBytes() { return link.pendingBytes; },
    get drained() { return link.drained; },
    write: (parts) => { link.write(parts); },
    end: () => { link.end(); },
    destroy: () => { link.destroy(); },
  };
}

/** A ConnectError that another attempt may not have. */
export function refused(): ConnectError {
  return new ConnectError('REFUSED', 'nobody is there', { phase: 'transport' });
}
