import { hostname, userInfo } from 'node:os';
import type { Keepalive, LogLevel } from '../core/config.ts';
import { Context } from '../core/context.ts';
import type { ContextScope } from '../core/context.ts';
import { UsageError } from '../core/errors.ts';
import type { FunctionRef } from '../core/call/protocol.ts';
import { IS_DEAD } from '../core/wire/frame.ts';
import { PROFILE } from '../core/wire/handles.ts';
import { decodeValue } from '../core/wire/values.ts';
import { safeTitle } from './bootstrap/first-stage.ts';
import type { ShipOptions } from './bootstrap/runtime.ts';
import { ConnectedContext } from './connected-context.ts';
import { METHOD_OPTIONS } from './connection-methods.ts';
import { ConnectError } from './connection/connect-error.ts';
import type { Connection, ConnectionListener } from './connection/connection.ts';
import { runsThisNode } from './connection/naming.ts';
import { checkKeepalive } from './connection/keepalive.ts';
import { reconnectFunction } from './connection/reconnect.ts';
import type { OutputChunk } from './connection/transport.ts';
import type { ContextOptions } from './context-options.ts';
import { CONTEXT_OPTIONS, methodOptions } from './context-options.ts';
import type { ContextStats } from './context-stats.ts';
import { checkNames } from './option-names.ts';
import { ViaConnection } from './via/via-connection.ts';
import type { ViaPlan } from './via/via-connection.ts';
import type { ConnectRequest } from './via/protocol.ts';
import type { Stream } from '../core/routing/stream.ts';

const DEFAULT_BOOT_TIMEOUT_MS = 30_000;
const SHIP_OPTIONS: readonly (keyof ShipOptions)[] = ['ship', 'sha256', 'disk', 'timeoutMs'];

/** What is to be connected, with everything decided. */
export interface ContextSpec {
  readonly id: number;
  readonly name: string;
  readonly title: string;
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly logLevel: LogLevel;
  readonly profile: boolean;
  readonly bootTimeoutMs: number;
  /** Undefined: that of whoever connects it. */
  readonly keepalive: Keepalive | false | undefined;
}

/** The process that makes contexts. */
export interface FactoryScope {
  readonly scope: ContextScope;
  readonly logLevel: LogLevel;
  /** Milliseconds for an orderly end of a context before it is ended by force. */
  readonly graceMs: number;
  allocateId(): number;
  releaseId(id: number): void;
  /** The context that connects when the options name none; undefined when it is this process. */
  readonly via: Context | undefined;
  /** Takes away what leads to a context that is gone, or never came. */
  dropRoute(id: number): void;
  /** Begins to connect a child of this process. */
  direct(spec: ContextSpec, listener: ConnectionListener): Connection;
  /** Sends a request to the hop that leads to its `viaId`. */
  send(hopId: number, request: ConnectRequest): void;
  /** Sends the request to detach a context to the hop that leads to the one that has started it. */
  detach(hopId: number, viaId: number, id: number): void;
  /** The stream that leads to a context. */
  route(contextId: number): Stream | undefined;
  /** A context by way of another begins: it is not announced yet. */
  expect(id: number, name: string, viaId: number): void;
  /** What this process knows of a context beside its connection. */
  stats(id: number): Pick<ContextStats, 'sent' | 'received' | 'modules'>;
  prepare(context: ConnectedContext, ref: FunctionRef): void;
  onOutput(context: { readonly id: number; readonly name: string }, stream: OutputChunk['stream'], line: string): void;
}

/** Makes contexts: children of this process, and others by way of contexts. */
export class ContextFactory {
  readonly #scope: FactoryScope;
  readonly #contexts = new Set<ConnectedContext>();
  readonly #byId = new Map<number, ConnectedContext>();

  constructor(scope: FactoryScope) {
    this.#scope = scope;
  }

  /** Those that are not closed, in the order of their making. */
  get contexts(): readonly ConnectedContext[] {
    return [...this.#contexts];
  }

  get(id: number): ConnectedContext | undefined {
    return this.#byId.get(id);
  }

  make(method: string, options: ContextOptions & object, defaultName: string): ConnectedContext {
    checkOptionNames(method, options);
    checkKeepalive(options.keepalive);
    const reconnect = reconnectFunction(options.reconnect);
    const chosen = this.#checked(options.via);
    const via = chosen ?? this.#scope.via;
    const firstId = this.#scope.allocateId();
    const name = options.name ?? `${chosen === undefined ? '' : `${chosen.name}.`}${defaultName}.${String(firstId)}`;
    const spec: Omit<ContextSpec, 'id'> = {
      name,
      title: safeTitle(options.title ?? `tendril:${name} (from ${userName()}@${hostname()}:${String(process.pid)})`),
      method,
      options: methodOptions(options),
      logLevel: options.logLevel ?? this.#scope.logLevel,
      profile: options.onProfile !== undefined,
      bootTimeoutMs: options.bootTimeoutMs ?? DEFAULT_BOOT_TIMEOUT_MS,
      keepalive: options.keepalive,
    };
    const context = new ConnectedContext(this.#scope.scope, {
      id: firstId,
      name,
      via: chosen,
      sameNode: via === undefined && runsThisNode(method, spec.options),
      reconnect,
      allocateId: () => this.#scope.allocateId(),
      begin: (begun) => {
        this.#byId.set(begun.id, begun);
        if (options.onProfile) this.#takeProfile(begun, options.onProfile);
      },
      end: (id) => {
        this.#byId.delete(id);
        this.#scope.releaseId(id);
      },
      connect: ({ id }, listener, stopping) => (via === undefined ? this.#scope.direct({ ...spec, id }, listener) : this.#via({ ...spec, id }, via, stopping, listener)),
      onOutput: (stream, line) => {
        this.#scope.onOutput({ id: context.id, name }, stream, line);
      },
      prepare: (prepared, ref) => {
        this.#scope.prepare(prepared, ref);
      },
      stats: ({ id }) => this.#scope.stats(id),
    });
    this.#contexts.add(context);
    context.closed.subscribe(() => {
      this.#contexts.delete(context);
    });
    return context;
  }

  /** The option `via`; undefined for this very context. One of another master may have the ID of one of ours. */
  #checked(via: unknown): Context | undefined {
    const { scope } = this.#scope;
    if (via === undefined) return undefined;
    if (!(via instanceof Context) || !via.isOf(scope)) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option via must be a context of this master, or in a child of its router; got ${via instanceof Context ? `${String(via)} of another` : typeof via}`);
    return via.id === scope.router.id ? undefined : via;
  }

  #via({ options, ...spec }: ContextSpec, via: Context, stopping: () => boolean, listener: ConnectionListener): Connection {
    const { scope } = this.#scope;
    this.#scope.expect(spec.id, spec.name, via.id);
    const hop = (): number | undefined => (isGone(via) ? undefined : this.#scope.route(firstOf(via).id)?.remoteId);
    const plan: ViaPlan = {
      via,
      request: { ...spec, options, viaId: via.id },
      fault: faultOf(options),
      send: (request) => {
        const hopId = hop();
        if (hopId !== undefined) this.#scope.send(hopId, request);
        return hopId !== undefined;
      },
      detach: () => {
        const hopId = hop();
        if (hopId !== undefined) this.#scope.detach(hopId, via.id, spec.id);
      },
      detached: () => via instanceof ConnectedContext && via.detached,
      hop,
      route: () => this.#scope.route(via.id),
      dropRoute: () => {
        this.#scope.dropRoute(spec.id);
      },
      stopping,
      graceMs: this.#scope.graceMs,
    };
    const connection = new ViaConnection(scope.router, plan, listener);
    connection.start();
    return connection;
  }

  /** A profile is one text on a handle of its own, sent by the context that it is of. */
  #takeProfile(context: ConnectedContext, take: (profile: string) => void): void {
    const { router } = this.#scope.scope;
    router.addConversation(context.id, PROFILE, {
      deliver: (message) => {
        router.removeConversation(context.id, PROFILE);
        const profile = message.replyTo === IS_DEAD ? undefined : decodeValue(message.data, message.tail);
        if (typeof profile === 'string') take(profile);
      },
    });
  }
}

function checkOptionNames(method: string, options: ContextOptions & { readonly runtime?: unknown }): void {
  if (!Object.hasOwn(METHOD_OPTIONS, method)) return;
  checkNames(`${method}()`, options, [...METHOD_OPTIONS[method as keyof typeof METHOD_OPTIONS], ...CONTEXT_OPTIONS]);
  if (typeof options.runtime === 'object' && options.runtime !== null) checkNames('runtime', options.runtime, SHIP_OPTIONS);
}

/** What cannot be sent to the context that connects. */
function faultOf(options: Readonly<Record<string, unknown>>): ConnectError | undefined {
  const [name] = Object.entries(options).find(([, value]) => typeof value === 'function') ?? [];
  return name === undefined ? undefined : new ConnectError('BAD_OPTION', `the option ${name} is a function, which cannot be sent to the context that connects; leave it out where there is a via`, { phase: 'transport' });
}

function isGone(context: Context): boolean {
  return context instanceof ConnectedContext && context.gone;
}

/** The context of this process's own by way of which all that is on the way to `context` was made. */
function firstOf(context: Context): Context {
  return context instanceof ConnectedContext && context.via !== undefined ? firstOf(context.via) : context;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'uid';
  }
}
