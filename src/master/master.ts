import type { Observable } from 'rxjs';
import { NodeBroker } from '../core/broker/node-broker.ts';
import type { Broker } from '../core/broker/broker.ts';
import { DEFAULT_READ_BUFFER_SIZE } from '../core/broker/broker.ts';
import { leaveGrowth } from '../core/broker/garbage.ts';
import { receiveStreams } from '../core/call/consumer.ts';
import { invoke } from '../core/call/invoke.ts';
import { LOG_LEVELS } from '../core/config.ts';
import type { ChildConfig, Keepalive, LogLevel, Quotas, TraceLevel } from '../core/config.ts';
import { Context, createReviver } from '../core/context.ts';
import type { ContextScope } from '../core/context.ts';
import { DecodeError, ShutdownError, UsageError, isError } from '../core/errors.ts';
import type { LogContent } from '../core/log/forwarder.ts';
import { anyContext } from '../core/mailbox/policy.ts';
import { DEFAULT_GRACE_MS } from '../core/shutdown.ts';
import { traceTo } from '../core/log/trace.ts';
import { DEFAULT_MAX_MESSAGE_SIZE, IS_DEAD } from '../core/wire/frame.ts';
import type { Message } from '../core/wire/frame.ts';
import { FORWARD_LOG } from '../core/wire/handles.ts';
import { decodeValue } from '../core/wire/values.ts';
import type { ListenOptions, Listener, Listening } from '../parent/attach/listening.ts';
import { openListener } from '../parent/attach/socket-listener.ts';
import { attemptsOf } from '../parent/bootstrap/ladder.ts';
import type { RuntimeOption } from '../parent/bootstrap/ladder.ts';
import { codeCache, compressedCore } from '../parent/bootstrap/payload.ts';
import type { ConnectedContext } from '../parent/connected-context.ts';
import { Admission, DEFAULT_MAX_HANDSHAKES } from '../parent/connection/admission.ts';
import type { Connection, ConnectionListener } from '../parent/connection/connection.ts';
import { DirectConnection } from '../parent/connection/direct-connection.ts';
import { DEFAULT_KEEPALIVE, checkKeepalive } from '../parent/connection/keepalive.ts';
import { METHODS, methodOf } from '../parent/connection/methods.ts';
import type { Method } from '../parent/connection/methods.ts';
import { defaultName, runsThisNode } from '../parent/connection/naming.ts';
import { openSsh } from '../parent/connection/ssh/ssh.ts';
import { ConnectionMethods } from '../parent/connection-methods.ts';
import type { NodeOptions } from '../parent/connection-methods.ts';
import { ContextFactory } from '../parent/context-factory.ts';
import type { ContextSpec } from '../parent/context-factory.ts';
import type { ContextOptions } from '../parent/context-options.ts';
import type { ModuleStats } from '../parent/context-stats.ts';
import { checkNames } from '../parent/option-names.ts';
import { ChildRouting } from '../parent/routing/child-routing.ts';
import { unidirectional } from '../parent/routing/edge-policy.ts';
import type { EdgePolicy } from '../parent/routing/edge-policy.ts';
import { MAX_ID } from '../parent/routing/id-pool.ts';
import { ParentRouter } from '../parent/routing/parent-router.ts';
import { forward, forwardDetach } from '../parent/via/connector.ts';
import { Parenthood } from '../parent/via/parenthood.ts';
import { ATTACH_PARTS, PartLedger } from '../parent/via/part-ledger.ts';
import { LogSink } from './log-sink.ts';
import { Services } from './services.ts';
import type { ServeOptions } from './services.ts';
import type { Serving } from '../service/pool.ts';
import { servedCalls } from '../service/served-calls.ts';
import type { LogRecord, Logger } from './log-sink.ts';
import { callersOf, findFunction } from './modules/function-finder.ts';
import { policyConfig } from './modules/options.ts';
import type { ModuleOptions } from './modules/options.ts';
import { openModule } from './modules/open-module.ts';
import { ModuleResponder } from './modules/responder.ts';
import { partFile } from './part-files.ts';
import { RateLimit } from '../core/log/rate-limit.ts';

/** Options of a master. */
export interface MasterOptions {
  /** Takes the log of the tree; any winston logger does. Default: winston, on stderr. False: none. */
  readonly logger?: Logger | false;
  /** Less urgent records are dropped, in the children already. Default `info`. */
  readonly logLevel?: LogLevel;
  /** Bytes of the largest message; children inherit it. A peer that announces more is disconnected. Default 128 MiB. */
  readonly maxMessageSize?: number;
  /** Milliseconds for an orderly end of a context before it is ended by force. Default 5000. */
  readonly graceMs?: number;
  /** Bytes of the read buffer of each link in the children. Default 128 KiB. */
  readonly readBufferSize?: number;
  /**
   * What this process and its children print of their inside on their raw stderr: `events` (streams, drops, refusals),
   * or every message too (`io`), without payloads. Default: the environment's TENDRIL_TRACE, else `off`.
   */
  readonly trace?: TraceLevel;
  /** Which modules and files children get. Default: all that the modules of their calls lead to. */
  readonly modules?: ModuleOptions;
  /**
   * Whether contexts may talk only with those above and below them (Mitogen's unidirectional mode), here and in all
   * children. Messages between others are answered with a ChannelError `refused-by-routing`. Default false.
   */
  readonly unidirectional?: boolean;
  /**
   * Which messages may pass here from one child to another. Default: all, or none if {@link MasterOptions.unidirectional}.
   * Not inherited, for no function of the user's runs where children route: between the children of a child everything
   * passes, or nothing if {@link MasterOptions.unidirectional}, which is inherited.
   */
  readonly edgePolicy?: EdgePolicy;
  /** What a direct child may ask of its parent, with all that is behind it; here and in all children. Defaults: docs/limits.md. */
  readonly quotas?: Partial<Quotas>;
  /**
   * How connections are watched, here and in all children: when nothing has passed for an interval, the parent asks for a
   * sign of life. After `countMax` of them without an answer the connection is lost, and the child, which has heard nothing
   * either, ends itself. False: not at all. Default `{ intervalMs: 30000, countMax: 10 }`.
   */
  readonly keepalive?: Keepalive | false;
  /** How many children a context boots at a time, here and in all children; the others wait in their order. Default 10. */
  readonly maxHandshakes?: number;
  /**
   * Bytes a second that large messages may take of a link while small ones use it too, here and in all children; from 65536,
   * or Infinity. Default: 131,072,000 for each processor of the machine that sends. A link that is slower is not concerned.
   */
  readonly bulkRate?: number;
  /**
   * Whether V8 may be told, while large messages or much of ssh come in, to let a small heap of this process grow by 64 MiB
   * before it marks it (`--heap-growing-percent`, at most 300, its own bound): otherwise memory outside of the heap makes it
   * mark all the time, which halves what a link moves. The flag is one of the process. False leaves V8 alone, and so does a
   * process that was started with that flag. Default true.
   */
  readonly tuneGc?: boolean;
  /** Time and IO. Default: the real ones. */
  readonly broker?: Broker;
}

const OPTIONS: Readonly<Record<keyof MasterOptions, 0>> = { logger: 0, logLevel: 0, maxMessageSize: 0, graceMs: 0, readBufferSize: 0, trace: 0, modules: 0, unidirectional: 0, edgePolicy: 0, quotas: 0, keepalive: 0, maxHandshakes: 0, bulkRate: 0, tuneGc: 0, broker: 0 };
const MAX_LOG_TEXT = 128 * 1024;
const NO_CACHE = new Uint8Array(0);
/** Here ssh2 is the package that the user has installed. */
const ALL_METHODS: ReadonlyMap<string, Method> = new Map([...METHODS, ['ssh', methodOf(openSsh, 'search')]]);

/** The root of a tree: makes contexts, takes their logs, sends them modules. */
export class Master extends ConnectionMethods implements Listening, AsyncDisposable {
  readonly broker: Broker;
  /** Moves messages; tells which contexts there are (`contexts`), and what their streams carry (`stats()`). */
  readonly router: ParentRouter;
  /** This process as a context: `self.handle(n)` gives what arrives on a handle from anyone admitted. */
  readonly self: Context;
  /** Log records of the whole tree that pass the level. Hot. */
  readonly logs: Observable<LogRecord>;
  readonly #options: MasterOptions;
  readonly #routing: ChildRouting;
  readonly #ledger: PartLedger;
  readonly #factory: ContextFactory;
  readonly #scope: ContextScope;
  readonly #sink: LogSink;
  /** Sends modules to children: push some ahead with {@link ModuleResponder.forward}, change them, or look at {@link Master.stats}. */
  readonly responder: ModuleResponder;
  readonly #keepalive: Keepalive | false;
  readonly #maxHandshakes: number;
  readonly #admission: Admission;
  readonly #trace: TraceLevel;
  readonly #endTrace: () => void;
  /** A hostile context must not fill the log. */
  readonly #dropLog = new RateLimit(20, 10_000);
  readonly #listeners: Listener[] = [];
  readonly #services = new Services(() => this.#scope);
  #stopping: Promise<void> | undefined;

  constructor(options: MasterOptions = {}) {
    super();
    checkNames('Master', options, Object.keys(OPTIONS));
    checkOptions(options);
    if (options.tuneGc === false) leaveGrowth();
    this.#options = options;
    this.#keepalive = options.keepalive ?? DEFAULT_KEEPALIVE;
    this.#maxHandshakes = options.maxHandshakes ?? DEFAULT_MAX_HANDSHAKES;
    this.#admission = new Admission(this.#maxHandshakes);
    this.#trace = options.trace ?? traceFromEnvironment();
    this.#endTrace = traceTo(this.#trace, 'master');
    this.broker = options.broker ?? new NodeBroker();
    this.router = new ParentRouter(this.broker, { id: 0, parentIds: [], maxMessageSize: options.maxMessageSize ?? DEFAULT_MAX_MESSAGE_SIZE });
    this.#routing = new ChildRouting(this.router, {
      ids: [[1, MAX_ID + 1]],
      edge: options.edgePolicy ?? (options.unidirectional === true ? unidirectional : undefined),
      quotas: options.quotas,
      directory: this.router.directory,
      warn: (text) => {
        this.#own('warn', text);
      },
    });
    this.#scope = receiveStreams<ContextScope>({
      router: this.router,
      reviver: createReviver(this.router, (id, name) => (id === 0 ? this.self : (this.#factory.get(id) ?? new Context(this.#scope, id, name)))),
      find: findFunction,
      callers: callersOf,
      open: openModule,
      service: this.#services.open,
      current: () => servedCalls.find(),
      invoke,
    });
    this.self = new Context(this.#scope, 0, 'self');
    this.#sink = new LogSink(options.logger, options.logLevel ?? 'info', (error, where) => {
      // Not by the log: it is the log that fails.
      process.emitWarning(`${where} failed: ${String(error)}`, 'TendrilWarning');
    });
    this.logs = this.#sink.records;
    this.#ledger = new PartLedger(this.router, partFile);
    new Parenthood(this.router, this.#ledger, this.#routing);
    this.#factory = new ContextFactory({
      scope: this.#scope,
      logLevel: this.#sink.level,
      graceMs: options.graceMs ?? DEFAULT_GRACE_MS,
      via: undefined,
      allocateId: () => {
        const id = this.#routing.ids.allocateNow();
        this.router.count(id);
        return id;
      },
      releaseId: (id) => {
        this.router.uncount(id);
        this.responder.forget(id);
        this.#routing.ids.release(id);
      },
      direct: (spec, listener) => this.#direct(spec, listener),
      route: (id) => this.router.table.get(id),
      expect: (id, name, viaId) => {
        this.router.directory.add(id, name, viaId);
      },
      stats: (id) => ({ sent: undefined, received: undefined, ...this.router.exchanged(id), modules: this.responder.stats(id) }),
      dropRoute: (id) => {
        this.router.removeRoutes([id], id);
      },
      send: (hopId, request) => {
        this.#routing.ids.expect(hopId, request.id);
        forward(this.router, this.#ledger, hopId, request);
      },
      detach: (hopId, viaId, id) => {
        forwardDetach(this.router, this.#ledger, hopId, viaId, id);
      },
      prepare: (context, ref) => {
        this.responder.prepare(context, ref);
      },
      onOutput: ({ id, name }, stream, line) => {
        this.#sink.write({ level: 'info', message: line, logger: `tendril.ctx.${name}`, context: name, contextId: id, stream });
      },
    });
    this.responder = new ModuleResponder(this.router, options.modules ?? {}, (id) => this.#factory.get(id), (level, message) => {
      if (level === 'debug' || this.#dropLog.admits(this.broker.now())) this.#own(level, message);
    });
    this.router.addHandler(FORWARD_LOG, { policy: anyContext, deliver: (message) => { this.#onLog(message); } });
    this.#watch();
  }

  /** The contexts that this master has made and that are not closed, in the order of their making. */
  get contexts(): readonly ConnectedContext[] {
    return this.#factory.contexts;
  }

  /** What each context has asked for and got, by its ID. Contexts that have called nothing but builtins are not in it. */
  stats(): ReadonlyMap<number, ModuleStats> {
    const stats = new Map<number, ModuleStats>();
    for (const { id } of this.contexts) {
      const found = this.responder.stats(id);
      if (found) stats.set(id, found);
    }
    return stats;
  }

  /** See {@link Listening.listen}. Who attaches here sees all contexts of this master; `shutdown()` ends it. */
  async listen(options: ListenOptions = {}): Promise<Listener> {
    if (this.#stopping) throw new ShutdownError('this master');
    const listener = await openListener({ router: this.router, routing: this.#routing, name: 'master', master: true }, options);
    this.#listeners.push(listener);
    if (this.#isStopping()) await listener.close();
    return listener;
  }

  /**
   * Serves contexts of this tree (docs/services.md): they call `parent.service(Class)`, or by the name, what the policies of
   * its methods admit. State is that of the instance.
   *
   * @param service - an instance of a class with a static member `methods`, or such a class
   */
  serve(service: object, options?: ServeOptions): Serving {
    if (this.#stopping) throw new ShutdownError('this master');
    return this.#services.serve(service, options);
  }

  /** Ends all contexts in order, then this master. Resolves when nothing is left; never rejects. */
  shutdown(): Promise<void> {
    this.#stopping ??= (async () => {
      await Promise.all(this.#listeners.map((listener) => listener.close()));
      await Promise.all(this.contexts.map((context) => context.shutdown()));
      this.router.close();
      this.responder.close();
      this.#endTrace();
      await this.#sink.flush();
    })();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  #isStopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** @internal */
  protected make(method: string, options: ContextOptions & object): ConnectedContext {
    if (this.#stopping) throw new ShutdownError('this master');
    return this.#factory.make(method, options, defaultName(method, options));
  }

  /** A child of this very process. */
  #direct({ id, name, title, method, options, logLevel, profile, bootTimeoutMs, keepalive = this.#keepalive }: ContextSpec, listener: ConnectionListener): Connection {
    const way = ALL_METHODS.get(method);
    if (way === undefined) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `there is no connection method ${method}`);
    const config: ChildConfig = {
      id,
      parentIds: [0],
      name,
      logLevel,
      maxMessageSize: this.router.maxMessageSize,
      graceMs: this.#options.graceMs ?? DEFAULT_GRACE_MS,
      readBufferSize: this.#options.readBufferSize ?? DEFAULT_READ_BUFFER_SIZE,
      trace: this.#trace,
      profile,
      unidirectional: this.#options.unidirectional ?? false,
      keepalive,
      maxHandshakes: this.#maxHandshakes,
      ...(this.#options.bulkRate !== undefined && { bulkRate: this.#options.bulkRate }),
      ...(this.#options.quotas && { quotas: this.#options.quotas }),
      modules: policyConfig(this.#options.modules ?? {}),
    };
    const sameNode = runsThisNode(method, options);
    const connection = new DirectConnection(
      this.router,
      {
        config,
        core: compressedCore(),
        // Made while the child starts, so that it costs no time.
        codeCache: () => (sameNode ? codeCache() : NO_CACHE),
        eager: way.eager,
        bootTimeoutMs,
        admission: this.#admission,
        attach: (stream) => {
          this.#routing.routes.attach(stream, name);
        },
        loadDetaching: () => {
          this.#ledger.send(id, ATTACH_PARTS);
        },
        booted: (nodeVersion) => {
          this.#routing.routes.booted(id, nodeVersion);
        },
        attempts: attemptsOf({ title, nodePath: options['nodePath'] as NodeOptions['nodePath'], runtime: options['runtime'] as RuntimeOption | undefined, again: way.again({ ...options, title }) }, (stage) => way.open({ ...options, title }, stage, this.broker), this.broker),
      },
      listener,
    );
    connection.start();
    return connection;
  }

  #onLog(message: Message): void {
    const via = this.router.table.get(message.srcId)?.remoteId;
    if (message.replyTo === IS_DEAD || (via !== undefined && !this.#routing.traffic.admitsLog(message, via))) return;
    const name = this.#factory.get(message.srcId)?.name ?? this.#routing.routes.nameOf(message.srcId) ?? `context ${String(message.srcId)}`;
    let content: unknown;
    try {
      content = decodeValue(message.data, message.tail);
      checkLog(content);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      if (this.#dropLog.admits(this.broker.now())) this.#own('warn', `${name} sent a log record that is not valid: ${error.message}`);
      return;
    }
    const [logger, level, text] = content as LogContent;
    const stream = logger === 'stdout' || logger === 'stderr' ? logger : undefined;
    const suffix = logger === '' || stream ? '' : `.${logger}`;
    this.#sink.write({ level, message: text.length <= MAX_LOG_TEXT ? text : `${text.slice(0, MAX_LOG_TEXT)} ... [cut]`, logger: `tendril.ctx.${name}${suffix}`, context: name, contextId: message.srcId, ...(stream && { stream }) });
  }

  #own(level: LogLevel, message: string): void {
    this.#sink.write({ level, message, logger: 'tendril', context: 'self', contextId: 0 });
  }

  #watch(): void {
    this.broker.faults.subscribe(({ error, where }) => {
      if (error instanceof DecodeError && !this.#dropLog.admits(this.broker.now())) return;
      this.#own('error', `${where}: ${isError(error) ? (error.stack ?? error.message) : String(error)}`);
    });
    this.router.events.subscribe((event) => {
      if (event.type !== 'message-refused') return;
      // Only our own are refused for their size.
      if (event.reason === 'too-large') {
        if (this.#dropLog.admits(this.broker.now())) this.#own('warn', `dropped a message for handle ${String(event.handle)}: ${event.why}`);
      } else this.#own('debug', `refused a message of context ${String(event.srcId)} for handle ${String(event.handle)}: ${event.reason}`);
    });
  }
}

function checkLog(content: unknown): void {
  const [logger, level, text] = Array.isArray(content) ? (content as unknown[]) : [];
  if (typeof logger !== 'string' || logger.length > 256 || typeof level !== 'string' || !Object.hasOwn(LOG_LEVELS, level) || typeof text !== 'string') throw new DecodeError('a log record has a field of the wrong type');
}

function checkOptions({ logLevel, maxMessageSize, graceMs, readBufferSize, edgePolicy, keepalive, maxHandshakes, bulkRate, tuneGc, quotas = {} }: MasterOptions): void {
  const bad = (name: string, rule: string, value: unknown): never => {
    throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option ${name} must be ${rule}, got ${String(value)}`);
  };
  if (logLevel !== undefined && !Object.hasOwn(LOG_LEVELS, logLevel)) bad('logLevel', `one of ${Object.keys(LOG_LEVELS).join(', ')}`, logLevel);
  if (maxMessageSize !== undefined && !(Number.isInteger(maxMessageSize) && maxMessageSize >= 64 * 1024 && maxMessageSize <= 0xffffffff)) bad('maxMessageSize', 'bytes from 65536 to 4294967295', maxMessageSize);
  if (graceMs !== undefined && !(graceMs >= 0 && graceMs <= 3_600_000)) bad('graceMs', 'milliseconds from 0 to 3600000', graceMs);
  if (readBufferSize !== undefined && !(Number.isInteger(readBufferSize) && readBufferSize >= 1024 && readBufferSize <= 16 * 1024 * 1024)) bad('readBufferSize', 'bytes from 1024 to 16777216', readBufferSize);
  if (bulkRate !== undefined && !(typeof bulkRate === 'number' && bulkRate >= 64 * 1024)) bad('bulkRate', 'bytes a second from 65536, or Infinity', bulkRate);
  if (tuneGc !== undefined && typeof tuneGc !== 'boolean') bad('tuneGc', 'true or false', tuneGc);
  if (edgePolicy !== undefined && typeof edgePolicy !== 'function') bad('edgePolicy', 'a function', edgePolicy);
  checkKeepalive(keepalive);
  checkNames('quotas', quotas, ['ids', 'idRequests', 'logs'] satisfies (keyof Quotas)[]);
  if (maxHandshakes !== undefined && !(Number.isInteger(maxHandshakes) && maxHandshakes >= 1)) bad('maxHandshakes', 'a whole number from 1', maxHandshakes);
  if (quotas.ids !== undefined && !(Number.isInteger(quotas.ids) && quotas.ids >= 0 && quotas.ids <= MAX_ID)) bad('quotas.ids', `a whole number from 0 to ${String(MAX_ID)}`, quotas.ids);
  for (const name of ['idRequests', 'logs'] as const) {
    const rate = quotas[name];
    if (rate !== undefined && !(rate.burst >= 1 && rate.perSecond > 0)) bad(`quotas.${name}`, '{ burst, perSecond }, from 1 and over 0', JSON.stringify(rate));
  }
}

function traceFromEnvironment(): TraceLevel {
  const value = process.env['TENDRIL_TRACE'];
  return value === 'events' || value === 'io' ? value : 'off';
}
