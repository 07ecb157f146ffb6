import { hostname, userInfo } from 'node:os';
import type { Observable } from 'rxjs';
import { NodeBroker } from '../core/broker/node-broker.ts';
import type { Broker } from '../core/broker/broker.ts';
import { DEFAULT_READ_BUFFER_SIZE } from '../core/broker/broker.ts';
import { LOG_LEVELS } from '../core/config.ts';
import type { ChildConfig, LogLevel, TraceLevel } from '../core/config.ts';
import { Context, createReviver } from '../core/context.ts';
import type { ContextScope } from '../core/context.ts';
import { DecodeError, ShutdownError, UsageError, isError } from '../core/errors.ts';
import type { LogContent } from '../core/log/forwarder.ts';
import { anyContext } from '../core/mailbox/policy.ts';
import { Router } from '../core/routing/router.ts';
import { DEFAULT_GRACE_MS } from '../core/shutdown.ts';
import { traceTo } from '../core/log/trace.ts';
import { DEFAULT_MAX_MESSAGE_SIZE, IS_DEAD } from '../core/wire/frame.ts';
import type { Message } from '../core/wire/frame.ts';
import { FORWARD_LOG, PROFILE } from '../core/wire/handles.ts';
import { decodeValue } from '../core/wire/values.ts';
import { ConnectedContext } from '../parent/connected-context.ts';
import { safeTitle } from '../parent/bootstrap/first-stage.ts';
import { attemptsOf } from '../parent/bootstrap/ladder.ts';
import type { RuntimeOption, SecondStart } from '../parent/bootstrap/ladder.ts';
import { codeCache, compressedCore } from '../parent/bootstrap/payload.ts';
import { COMMAND_METHODS } from '../parent/connection/commands/methods.ts';
import { openBy } from '../parent/connection/commands/open-command.ts';
import type { CommandMethod } from '../parent/connection/commands/plan.ts';
import type { CommandOptions } from '../parent/connection/commands/command.ts';
import type { ChrootOptions } from '../parent/connection/commands/chroot.ts';
import type { DockerOptions } from '../parent/connection/commands/docker.ts';
import type { KubectlOptions } from '../parent/connection/commands/kubectl.ts';
import type { LxcOptions } from '../parent/connection/commands/lxc.ts';
import type { NsenterOptions } from '../parent/connection/commands/nsenter.ts';
import type { OpensshOptions } from '../parent/connection/commands/openssh.ts';
import type { PodmanOptions } from '../parent/connection/commands/podman.ts';
import type { DoasOptions } from '../parent/connection/commands/doas.ts';
import type { SuOptions } from '../parent/connection/commands/su.ts';
import type { SudoOptions } from '../parent/connection/commands/sudo.ts';
import { openLocal } from '../parent/connection/local.ts';
import type { LocalOptions } from '../parent/connection/local.ts';
import type { FirstStage, Transport } from '../parent/connection/transport.ts';
import { openSsh } from '../parent/connection/ssh/ssh.ts';
import type { SshOptions } from '../parent/connection/ssh/options.ts';
import { IdAllocator } from './id-allocator.ts';
import { LogSink } from './log-sink.ts';
import type { LogRecord, Logger } from './log-sink.ts';
import type { ModuleStats } from './modules/client.ts';
import { callersOf, findFunction } from './modules/function-finder.ts';
import { policyConfig } from './modules/options.ts';
import type { ModuleOptions } from './modules/options.ts';
import { openModule } from './modules/remote-module.ts';
import { ModuleResponder } from './modules/responder.ts';
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
  /** Time and IO. Default: the real ones. */
  readonly broker?: Broker;
}

/** Options of every connection method. */
export interface ContextOptions {
  /** Name for logs and errors. Default: made from the method and its target. */
  readonly name?: string;
  /** Process title there. Default `tendril:<name>`. */
  readonly title?: string;
  /** Milliseconds from the start of the process there until its core runs. Default 30000. */
  readonly bootTimeoutMs?: number;
  /** Log level of this context. Default: the master's. */
  readonly logLevel?: LogLevel;
  /**
   * Takes the CPU profile of the context's main thread when it shuts down in order: the text of a `.cpuprofile` file,
   * which Chrome's and VS Code's tools open. Profiling begins with the core. Default: none.
   */
  readonly onProfile?: (profile: string) => void;
}

/** Options of every connection method that leaves this account or machine. */
export interface TargetOptions extends ContextOptions {
  /** Node there: a path or name, or a command with its leading arguments. Default `node`. */
  readonly nodePath?: string | readonly string[];
  /** What to do where there is no `node`, or one that is too old. Default `search`. */
  readonly runtime?: RuntimeOption;
}

const MAX_LOG_TEXT = 128 * 1024;
const DEFAULT_BOOT_TIMEOUT_MS = 30_000;
const NO_CACHE = new Uint8Array(0);

/** The root of a tree: makes contexts, takes their logs, sends them modules. */
export class Master implements AsyncDisposable {
  readonly broker: Broker;
  readonly router: Router;
  /** This process as a context: `self.handle(n)` gives what arrives on a handle from anyone admitted. */
  readonly self: Context;
  /** Log records of the whole tree that pass the level. Hot. */
  readonly logs: Observable<LogRecord>;
  readonly #options: MasterOptions;
  readonly #ids = new IdAllocator();
  readonly #contexts = new Map<number, ConnectedContext>();
  readonly #scope: ContextScope;
  readonly #sink: LogSink;
  /** Sends modules to children: push some ahead with {@link ModuleResponder.forward}, change them, or look at {@link Master.stats}. */
  readonly responder: ModuleResponder;
  readonly #trace: TraceLevel;
  readonly #endTrace: () => void;
  /** A hostile context must not fill the log. */
  readonly #dropLog = new RateLimit(20, 10_000);
  #stopping: Promise<void> | undefined;

  constructor(options: MasterOptions = {}) {
    checkOptions(options);
    this.#options = options;
    this.#trace = options.trace ?? traceFromEnvironment();
    this.#endTrace = traceTo(this.#trace, 'master');
    this.broker = options.broker ?? new NodeBroker();
    this.router = new Router(this.broker, { id: 0, parentIds: [], maxMessageSize: options.maxMessageSize ?? DEFAULT_MAX_MESSAGE_SIZE });
    this.#scope = {
      router: this.router,
      reviver: createReviver(this.router, (id, name) => (id === 0 ? this.self : (this.#contexts.get(id) ?? new Context(this.#scope, id, name)))),
      find: findFunction,
      callers: callersOf,
      open: openModule,
    };
    this.self = new Context(this.#scope, 0, 'self');
    this.#sink = new LogSink(options.logger, options.logLevel ?? 'info', (error, where) => {
      // Not by the log: it is the log that fails.
      process.emitWarning(`${where} failed: ${String(error)}`, 'TendrilWarning');
    });
    this.logs = this.#sink.records;
    this.responder = new ModuleResponder(this.router, options.modules ?? {}, (id) => this.#contexts.get(id), (level, message) => {
      if (level === 'debug' || this.#dropLog.admits(this.broker.now())) this.#own(level, message);
    });
    this.router.addHandler(FORWARD_LOG, { policy: anyContext, deliver: (message) => { this.#onLog(message); } });
    this.#watch();
  }

  /** The contexts that this master has made and that are not closed, in the order of their making. */
  get contexts(): readonly ConnectedContext[] {
    return [...this.#contexts.values()];
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

  /** Starts a child on this machine. */
  local(options: LocalOptions & ContextOptions = {}): ConnectedContext {
    return this.#connect(options, `local.${String(process.pid)}`, 'local', (_stage, title) => openLocal({ ...options, title }, _stage, this.broker));
  }

  /** Starts a child over ssh. Needs the package `ssh2`. */
  ssh(options: SshOptions & TargetOptions): ConnectedContext {
    const name = `ssh.${options.username === undefined ? '' : `${options.username}@`}${options.host}`;
    return this.#connect(options, name, 'search', (stage) => openSsh(options, stage, this.broker));
  }

  /** Starts a child as another account of this machine, by sudo. */
  sudo(options: SudoOptions & TargetOptions = {}): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.sudo, options);
  }

  /** Starts a child as another account of this machine, by su. */
  su(options: SuOptions & TargetOptions = {}): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.su, options);
  }

  /** Starts a child as another account of this machine, by doas. */
  doas(options: DoasOptions & TargetOptions = {}): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.doas, options);
  }

  /** Starts a child in a container of Docker. */
  docker(options: DockerOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.docker, options);
  }

  /** Starts a child in a container of Podman. */
  podman(options: PodmanOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.podman, options);
  }

  /** Starts a child in a pod of Kubernetes, by kubectl. */
  kubectl(options: KubectlOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.kubectl, options);
  }

  /** Starts a child in a container of LXC. */
  lxc(options: LxcOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.lxc, options);
  }

  /** Starts a child in the namespaces of a process of this machine. */
  nsenter(options: NsenterOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.nsenter, options);
  }

  /** Starts a child in another root directory of this machine. */
  chroot(options: ChrootOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.chroot, options);
  }

  /** Starts a child on a host, by the ssh client of this machine. */
  openssh(options: OpensshOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.openssh, options);
  }

  /** Starts a child behind a command of your own, such as `ip netns exec blue`. */
  command(options: CommandOptions & TargetOptions): ConnectedContext {
    return this.#connectBy(COMMAND_METHODS.command, options);
  }

  /** Ends all contexts in order, then this master. Resolves when nothing is left; never rejects. */
  shutdown(): Promise<void> {
    this.#stopping ??= (async () => {
      await Promise.all(this.contexts.map((context) => context.shutdown()));
      this.router.close();
      this.#endTrace();
      await this.#sink.flush();
    })();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  #connectBy<Options extends TargetOptions>(method: CommandMethod<Options>, options: Options): ConnectedContext {
    return this.#connect(options, method.name(options), method.again(options), (stage) => openBy(method)(options, stage, this.broker));
  }

  /** @param again - what a second start may do where the first found no Node; or `local`, which has the very Node that runs this */
  #connect(options: TargetOptions, defaultName: string, again: SecondStart | 'local', open: (stage: FirstStage, title: string) => Observable<Transport>): ConnectedContext {
    if (this.#stopping) throw new ShutdownError('this master');
    const eager = again === 'local';
    const id = this.#ids.allocate();
    const name = options.name ?? `${defaultName}.${String(id)}`;
    const title = safeTitle(options.title ?? `tendril:${name} (from ${userName()}@${hostname()}:${String(process.pid)})`);
    const config: ChildConfig = {
      id,
      parentIds: [0],
      name,
      logLevel: options.logLevel ?? this.#sink.level,
      maxMessageSize: this.router.maxMessageSize,
      graceMs: this.#options.graceMs ?? DEFAULT_GRACE_MS,
      readBufferSize: this.#options.readBufferSize ?? DEFAULT_READ_BUFFER_SIZE,
      trace: this.#trace,
      profile: options.onProfile !== undefined,
      modules: policyConfig(this.#options.modules ?? {}),
    };
    const context = new ConnectedContext(this.#scope, {
      config,
      core: compressedCore(),
      // Made while the child starts, so that it costs no time, and only for the Node that we run ourselves.
      codeCache: () => (eager && options.nodePath === undefined ? codeCache() : NO_CACHE),
      eager,
      bootTimeoutMs: options.bootTimeoutMs ?? DEFAULT_BOOT_TIMEOUT_MS,
      attempts: attemptsOf({ title, nodePath: options.nodePath, runtime: options.runtime, again: again === 'local' ? 'none' : again }, (stage) => open(stage, title), this.broker),
      onOutput: (stream, line) => {
        this.#sink.write({ level: 'info', message: line, logger: `tendril.ctx.${name}`, context: name, contextId: id, stream });
      },
      prepare: (connected, ref) => {
        this.responder.prepare(connected, ref);
      },
    });
    this.#contexts.set(id, context);
    if (options.onProfile) this.#takeProfile(context, options.onProfile);
    context.closed.subscribe(() => {
      this.#contexts.delete(id);
      this.responder.forget(id);
      this.#ids.release(id);
    });
    return context;
  }

  /** A profile is one text on a handle of its own, sent by the context that it is of. */
  #takeProfile(context: ConnectedContext, take: (profile: string) => void): void {
    this.router.addConversation(context.id, PROFILE, {
      deliver: (message) => {
        this.router.removeConversation(context.id, PROFILE);
        const profile = message.replyTo === IS_DEAD ? undefined : decodeValue(message.data, message.tail);
        if (typeof profile === 'string') take(profile);
      },
    });
  }

  #onLog(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const name = this.#contexts.get(message.srcId)?.name ?? `context ${String(message.srcId)}`;
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
      if (event.type === 'message-dropped' && this.#dropLog.admits(this.broker.now())) this.#own('warn', `dropped a message of context ${String(event.srcId)}: ${event.why}`);
      if (event.type === 'message-refused') this.#own('debug', `refused a message of context ${String(event.srcId)} for handle ${String(event.handle)}: ${event.reason}`);
    });
  }
}

function checkLog(content: unknown): void {
  const [logger, level, text] = Array.isArray(content) ? (content as unknown[]) : [];
  if (typeof logger !== 'string' || logger.length > 256 || typeof level !== 'string' || !Object.hasOwn(LOG_LEVELS, level) || typeof text !== 'string') throw new DecodeError('a log record has a field of the wrong type');
}

function checkOptions({ logLevel, maxMessageSize, graceMs, readBufferSize }: MasterOptions): void {
  const bad = (name: string, rule: string, value: unknown): never => {
    throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option ${name} must be ${rule}, got ${String(value)}`);
  };
  if (logLevel !== undefined && !Object.hasOwn(LOG_LEVELS, logLevel)) bad('logLevel', `one of ${Object.keys(LOG_LEVELS).join(', ')}`, logLevel);
  if (maxMessageSize !== undefined && !(Number.isInteger(maxMessageSize) && maxMessageSize >= 64 * 1024 && maxMessageSize <= 0xffffffff)) bad('maxMessageSize', 'bytes from 65536 to 4294967295', maxMessageSize);
  if (graceMs !== undefined && !(graceMs >= 0 && graceMs <= 3_600_000)) bad('graceMs', 'milliseconds from 0 to 3600000', graceMs);
  if (readBufferSize !== undefined && !(Number.isInteger(readBufferSize) && readBufferSize >= 1024 && readBufferSize <= 16 * 1024 * 1024)) bad('readBufferSize', 'bytes from 1024 to 16777216', readBufferSize);
}

function traceFromEnvironment(): TraceLevel {
  const value = process.env['TENDRIL_TRACE'];
  return value === 'events' || value === 'io' ? value : 'off';
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'uid';
  }
}

