import { dirname, isAbsolute, join, resolve as resolvePath } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { FunctionRef } from '../../core/call/protocol.ts';
import { DecodeError, TendrilError, UsageError } from '../../core/errors.ts';
import type { ForwardRequest, ModuleAnswer, ModuleRequest, Profile, ResourceRequest, Target } from '../../core/importer/records.ts';
import { isImmediateChild } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { FORWARD_MODULE, GET_MODULE, GET_RESOURCE, LOAD_RESOURCE } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import { LIBRARY_PARTS, modulesOf, withoutQuery } from '../../importer/ids.ts';
import { ModulePolicy, namesOf } from '../../importer/policy.ts';
import { closure } from '../../parent/modules/closure.ts';
import { Packer } from '../../parent/modules/packs.ts';
import { profileOf } from '../../parent/modules/profile.ts';
import { sendImporter, sendModules, sendValue } from '../../parent/modules/send.ts';
import { SentModules } from '../../parent/modules/sent.ts';
import { importerCodeCache, importerPart } from './importer-parts.ts';
import { Client } from './client.ts';
import { CodeCaches } from './code-caches.ts';
import type { ModuleStats } from '../../parent/context-stats.ts';
import { ModuleGraph } from './module-graph.ts';
import type { GraphModule, SourceModifier } from './module-graph.ts';
import type { ModuleOptions } from './options.ts';
import { policyConfig } from './options.ts';
import { isInside, packageByName, packageOf, realPath } from './packages.ts';
import { readResource } from './resources.ts';

/** Characters of a specifier or path that a child may send. */
const MAX_NAME = 4096;
/** Instances of modules (`./x.mjs?1`) that a child may make by computed names. */
const MAX_INSTANCES = 1000;

/** What the responder needs to know of a context. */
export interface ResponderTarget {
  readonly id: number;
  readonly name: string;
  readonly nodeVersion: string;
  /** Whether it runs the very Node of this process, on this machine: its code caches are good there, and cost no link. */
  readonly sameNode?: boolean;
}

/** Tells the log of the master. */
export type ResponderLog = (level: 'warn' | 'debug', message: string) => void;

/**
 * Sends this process's modules to children (Mitogen's ModuleResponder): each once to each child, with everything that it
 * needs, ahead of the call that needs it; and answers what children ask for, within what they may see.
 */
export class ModuleResponder {
  readonly #router: Router;
  readonly #log: ResponderLog;
  readonly #policy: ModulePolicy;
  readonly #assets: boolean;
  readonly #graph: ModuleGraph;
  readonly #packer = new Packer();
  readonly #codeCaches: CodeCaches;
  readonly #clients = new Map<number, Client>();
  /** What those on the way have been told to send on to a context behind them: each call would tell it again. */
  readonly #forwarded = new Map<number, SentModules>();
  /** What a context has had before it was gone. */
  readonly #find: (id: number) => ResponderTarget | undefined;

  /** @internal */
  constructor(router: Router, options: ModuleOptions, find: (id: number) => ResponderTarget | undefined, log: ResponderLog) {
    this.#router = router;
    this.#log = log;
    this.#find = find;
    this.#policy = new ModulePolicy(policyConfig(options));
    this.#assets = options.assets ?? true;
    this.#graph = new ModuleGraph(this.#policy);
    this.#codeCaches = new CodeCaches(router.broker);
    router.addHandler(GET_MODULE, { policy: isImmediateChild, deliver: (message) => { this.#onGetModule(message); } });
    router.addHandler(GET_RESOURCE, { policy: isImmediateChild, deliver: (message) => { this.#onGetResource(message); } });
  }

  /** What was sent to a context so far. */
  stats(contextId: number): ModuleStats | undefined {
    return this.#clients.get(contextId)?.stats();
  }

  /**
   * Gives a module another source than its file has, in children that do not have it yet (Mitogen's
   * `add_source_override`).
   *
   * @param module - URL or path of the module; there need not be a file
   */
  override(module: string | URL, source: string): void {
    this.#graph.override(idOf(module), source);
  }

  /** Changes the source of a module for children that do not have it yet (Mitogen's `add_source_modifier`). */
  modify(module: string | URL, modifier: SourceModifier): void {
    this.#graph.modify(idOf(module), modifier);
  }

  /**
   * Sends modules, and all that they need, ahead of need (Mitogen's `forward_modules`). Waits for a context that is not
   * connected yet; a context that is gone is logged and nothing else.
   *
   * @param context - a context of this master
   * @param names - URLs or paths of modules, or names of packages as the main script would import them
   *
   * Throws ERR_TENDRIL_MODULE_NOT_FOUND for a name that stands for nothing, ERR_TENDRIL_MODULE_REFUSED for one that the
   * policy refuses.
   */
  forward(context: { readonly id: number; readonly name: string; readonly connected: { subscribe(observer: { next(): void; error(): void }): unknown } }, names: readonly (string | URL)[]): void {
    const ids = names.map((name) => this.#named(name));
    const drop = (): void => {
      this.#log('warn', `dropping forward of ${names.map(String).join(', ')} to ${context.name}, which is gone`);
    };
    context.connected.subscribe({
      next: () => {
        const target = this.#find(context.id);
        if (target === undefined) drop();
        else for (const id of ids) this.#pushTo(target, id);
      },
      error: drop,
    });
  }

  /**
   * Makes sure that the module of `ref` is, or will be in time, in the context. Throws when it cannot be there.
   *
   * @internal
   */
  prepare(target: ResponderTarget, ref: FunctionRef): void {
    for (const module of modulesOf(ref.module)) this.#prepare(target, module);
  }

  /** Forgets a context that is gone. @internal */
  forget(contextId: number): void {
    this.#clients.get(contextId)?.throttle.close();
    this.#clients.delete(contextId);
    this.#forwarded.delete(contextId);
  }

  /** Makes no more code caches. @internal */
  close(): void {
    this.#codeCaches.close();
  }

  /** What cannot be read here fails at the caller, where there is someone to read it. */
  #refuseFailed({ record: [id, format, source] }: GraphModule): void {
    if (format !== 'error') return;
    const [name, code, message] = JSON.parse(Buffer.from(source).toString()) as [string, string, string];
    // A syntax error is for the engine of the child to show, and others for the importer.
    if (name === 'SyntaxError') return;
    if (code === 'ERR_TENDRIL_MAIN_SCRIPT') throw new UsageError(code, message);
    throw new TendrilError(code.startsWith('ERR_TENDRIL_') ? code : 'ERR_TENDRIL_MODULE_NOT_FOUND', `cannot send the module ${id}: ${message}`);
  }

  #prepare(target: ResponderTarget, module: string): void {
    if (module.startsWith('node:')) return;
    const profile = profileOf(target.nodeVersion);
    if ((this.#clients.get(target.id) ?? this.#forwarded.get(target.id))?.has(profile, module) === true) return;
    const refusal = LIBRARY_PARTS.has(module) ? undefined : this.#policy.refusal(namesOf(module));
    if (refusal !== undefined) throw new TendrilError('ERR_TENDRIL_MODULE_REFUSED', `${module} is not sent to ${target.name}: ${refusal}; see the option modules of Master`);
    this.#refuseFailed(this.#graph.module(module, profile));
    this.#pushTo(target, module);
  }

  #client(contextId: number): Client {
    let client = this.#clients.get(contextId);
    if (client === undefined) {
      const target = this.#find(contextId);
      // The file may be another than when this process was started.
      const sameNode = target?.sameNode === true && target.nodeVersion === process.version;
      this.#clients.set(contextId, (client = new Client(contextId, this.#router.broker, sameNode)));
    }
    return client;
  }

  #named(name: string | URL): string {
    const text = String(name);
    if (!/^\.{0,2}\/|^file:/.test(text)) {
      const target = this.#graph.resolver.resolve('import', join(dirname(process.argv[1] ?? process.cwd()), 'main'), text);
      if (target === null || target.startsWith('!')) throw new TendrilError('ERR_TENDRIL_MODULE_NOT_FOUND', `cannot find ${text}, which is to be forwarded; name a package that the main script can import, or give a URL`);
      return this.#admitted(target, text);
    }
    return this.#admitted(idOf(name), text);
  }

  #admitted(id: string, name: string): string {
    const refusal = this.#policy.refusal(namesOf(id));
    if (refusal !== undefined) throw new TendrilError('ERR_TENDRIL_MODULE_REFUSED', `${name} is not sent: ${refusal}`);
    return id;
  }

  /** Sends a module with all that it needs, as far as the context does not have it. The importer comes before all. */
  #push(client: Client, profile: Profile, id: string | undefined, answers: readonly ModuleAnswer[] = []): void {
    if (client.begin(profile)) {
      const part = importerPart(profile);
      const codeCache = client.sameNode ? importerCodeCache(profile) : undefined;
      client.bytes += part.length;
      client.codeCacheBytes += codeCache?.length ?? 0;
      sendImporter(this.#router, client.contextId, profile, part, codeCache);
    }
    const skip = (at: string): boolean => client.has(profile, at) || !/^(?:file|data):/.test(at);
    const modules = id === undefined ? [] : closure([id], (at) => this.#graph.module(at, profile), ({ needs }) => needs, skip);
    this.#send(client, profile, modules, answers);
  }

  #send(client: Client, profile: Profile, modules: readonly GraphModule[], answers: readonly ModuleAnswer[]): void {
    client.sent(profile, modules);
    const { bytes, codeCacheBytes, kept } = sendModules(this.#router, this.#packer, client.contextId, profile, modules.map(({ record }) => record), answers, client.sameNode ? (records, packed) => this.#codeCaches.of(records, packed) : undefined);
    client.bytes += bytes;
    client.codeCacheBytes += codeCacheBytes;
    client.cacheHits += kept;
  }

  /** Sends a module to a context, and to those on the way to it. */
  #pushTo(target: ResponderTarget, id: string): void {
    const profile = profileOf(target.nodeVersion);
    const next = this.#router.table.get(target.id)?.remoteId ?? target.id;
    this.#push(this.#client(next), profile, id);
    if (next === target.id) return;
    let forwarded = this.#forwarded.get(target.id);
    if (forwarded === undefined) this.#forwarded.set(target.id, (forwarded = new SentModules()));
    forwarded.add(profile, [id]);
    sendValue(this.#router, next, FORWARD_MODULE, [target.id, profile, [id]] satisfies ForwardRequest);
  }

  #onGetModule(message: Message): void {
    if (message.replyTo === IS_DEAD || this.#find(message.srcId) === undefined) return;
    const client = this.#client(message.srcId);
    const request = checkModuleRequest(decodeValue(message.data, message.tail));
    client.requests++;
    const taken = client.throttle.run(() => {
      if (this.#clients.get(client.contextId) === client) this.#answer(client, request);
    });
    if (!taken) this.#reply(client, request, '!ERR_TENDRIL_MODULE_QUOTA');
  }

  #answer(client: Client, request: ModuleRequest): void {
    const target = this.#targetFor(client, request);
    if (target === null || !(target.startsWith('file:') || target.startsWith('data:')) || target.endsWith('.node')) {
      this.#reply(client, request, target);
      return;
    }
    const [profile] = request;
    if (client.has(profile, target)) client.cacheHits++;
    this.#push(client, profile, target, [answerOf(request, target)]);
  }

  #reply(client: Client, request: ModuleRequest, target: Target): void {
    if (target === null || target.startsWith('!')) client.negatives++;
    this.#push(client, request[0], undefined, [answerOf(request, target)]);
  }

  /** What a request comes to: the ID of a module that the context may have. What it may not have is not there. */
  #targetFor(client: Client, [profile, kind, from, specifier]: ModuleRequest): Target {
    if (kind === 'id') {
      // A part of the library, which every context may have.
      if (LIBRARY_PARTS.has(specifier)) return specifier;
      if (client.has(profile, specifier) || client.mayAsk(specifier)) return specifier;
      // By its one true name only: what a child makes up must not fill the tables of the graph.
      return this.#visible(client, specifier) && isCanonical(specifier) ? this.#instance(client, this.#graph.resolveFor(kind, from, specifier)) : null;
    }
    if (!client.has(profile, from) && !this.#visible(client, from)) return null;
    const fault = this.#graph.resolver.faultOf(kind, pathOf(from) ?? '', specifier);
    if (fault !== null) return fault;
    const named = packageName(specifier);
    // Before anything is looked for: what is outside must not show in what comes of it.
    if (named === undefined && !specifier.startsWith('#') && !this.#within(client, from, specifier)) return null;
    const target = this.#graph.resolveFor(kind, from, specifier);
    if (target === null || target.startsWith('!') || target.startsWith('node:') || client.has(profile, target)) return target;
    if (target.startsWith('data:')) return this.#instance(client, target);
    // A package is public to those who can name it; a path is not.
    if (this.#visible(client, target) || ((named !== undefined || specifier.startsWith('#')) && isPublic(from, named, target))) return this.#instance(client, target);
    this.#log('debug', `refused ${target} to context ${String(client.contextId)}: it is in no package of which it has a module`);
    return null;
  }

  /** Whether a path or URL that a module names is, as it is written, in a package that the context has a module of. */
  #within(client: Client, from: string, specifier: string): boolean {
    const base = pathOf(from);
    if (base === undefined || !/^\.{0,2}\/|^\.{1,2}$|^file:/.test(specifier)) return false;
    try {
      const path = specifier.startsWith('file:') ? fileURLToPath(specifier) : isAbsolute(specifier) ? specifier : resolvePath(dirname(base), specifier);
      const written = withoutQuery(path);
      // Imports have escapes, and names of files may look as if they had.
      return [path, written, unescaped(written)].every((one) => client.sees(resolvePath(one)));
    } catch {
      return false;
    }
  }

  /** Modules with a query are instances of their own, as many as one likes; but not for a child to fill our memory with. */
  #instance(client: Client, target: Target): Target {
    if (target === null || !/^data:|[?#]/.test(target) || this.#graph.has(target)) return target;
    return ++client.instances > MAX_INSTANCES ? '!ERR_TENDRIL_MODULE_QUOTA' : target;
  }

  /** Whether an ID is a file of a package that the context has a module of. */
  #visible(client: Client, id: string): boolean {
    const path = pathOf(id);
    const real = path === undefined ? undefined : (realPath(path) ?? realParent(path));
    return real !== undefined && client.sees(real);
  }

  #onGetResource(message: Message): void {
    if (message.replyTo === IS_DEAD || this.#find(message.srcId) === undefined) return;
    const client = this.#client(message.srcId);
    const request = checkResourceRequest(decodeValue(message.data, message.tail));
    client.requests++;
    // A link may have another name than what it leads to, and the policy speaks of either.
    const admitted = this.#assets && [request[1], realPath(request[1]) ?? request[1]].every((path) => this.#policy.refusal(namesOf(pathToFileURL(path).href)) === undefined);
    const packages = admitted ? client.packages : [];
    const taken = client.reads.run(async () => {
      const answer = await readResource(request, packages, this.#router.maxMessageSize / 2);
      if (this.#clients.get(client.contextId) !== client) return;
      if (answer[2] !== null) client.negatives++;
      this.#sendResource(client, answer);
      await client.drained(this.#router);
    });
    if (!taken) this.#sendResource(client, [...request, 'EAGAIN', null]);
  }

  #sendResource(client: Client, answer: readonly unknown[]): void {
    client.bytes += sendValue(this.#router, client.contextId, LOAD_RESOURCE, answer);
  }
}

function answerOf([, kind, from, specifier]: ModuleRequest, target: Target): ModuleAnswer {
  return [kind, from, specifier, target];
}

/** The package that a specifier names, if the path behind its name goes nowhere but down. */
function packageName(specifier: string): string | undefined {
  if (/^[./#]|^\w+:|[\\%]/.test(specifier) || !specifier.split('/').every((step) => step !== '' && !step.startsWith('.'))) return undefined;
  return /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0];
}

/** Whether a target is in the package that was named, where links in that package do not lead out of it. */
function isPublic(from: string, name: string | undefined, target: string): boolean {
  const real = realPath(pathOf(target) ?? '');
  const base = pathOf(from);
  if (real === undefined || base === undefined) return false;
  // What the application's own `imports` point to was put there by its author; it may be a package.
  const root = name === undefined ? packageOf(real) : packageByName(base, name);
  return root !== undefined && (name !== undefined || real.includes('/node_modules/')) && real !== root.root && isInside(root, real);
}

function unescaped(path: string): string {
  return decodeURIComponent(path);
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NAME && !value.includes('\0');
}

function checkModuleRequest(value: unknown): ModuleRequest {
  const [profile, kind, from, specifier] = Array.isArray(value) ? (value as unknown[]) : [];
  const valid = (profile === 'native' || profile === 'rendered') && (kind === 'require' || kind === 'import' || kind === 'id') && isName(from) && isName(specifier);
  if (!valid) throw new DecodeError('a request for a module has a field of the wrong kind');
  return [profile, kind, from, specifier];
}

function checkResourceRequest(value: unknown): ResourceRequest {
  const [operation, path] = Array.isArray(value) ? (value as unknown[]) : [];
  const known = operation === 'read' || operation === 'stat' || operation === 'list';
  if (!known || !isName(path) || !isAbsolute(path)) throw new DecodeError('a request for a file has a field of the wrong kind');
  return [operation, resolvePath(path)];
}

function pathOf(id: string): string | undefined {
  try {
    return fileURLToPath(withoutQuery(id));
  } catch {
    return undefined;
  }
}

/** For the bases of look-ups, which need not be files: their directory decides. */
function realParent(path: string): string | undefined {
  const parent = realPath(dirname(path));
  return parent === undefined ? undefined : join(parent, 'module');
}

/** Whether an ID is the URL of the real path of a file. */
function isCanonical(id: string): boolean {
  const plain = withoutQuery(id);
  const path = pathOf(plain);
  const real = path === undefined ? undefined : realPath(path);
  return real !== undefined && pathToFileURL(real).href === plain;
}

function idOf(module: string | URL): string {
  const text = String(module);
  if (text.startsWith('file:')) return withoutQuery(realId(fileURLToPath(text)));
  if (isAbsolute(text)) return realId(text);
  throw new UsageError('ERR_TENDRIL_BAD_MODULE', `${text} does not say which module is meant: give new URL('${text}', import.meta.url), or an absolute path`);
}

function realId(path: string): string {
  return pathToFileURL(realPath(path) ?? path).href;
}
