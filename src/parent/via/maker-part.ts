import { isBuiltin } from 'node:module';
import { inspect } from 'node:util';
import type { CurrentCall } from '../../core/call/current-call.ts';
import { invoke } from '../../core/call/invoke.ts';
import type { FunctionFinder } from '../../core/context.ts';
import type { Context, ContextScope } from '../../core/context.ts';
import { UsageError } from '../../core/errors.ts';
import type { LogForwarder } from '../../core/log/forwarder.ts';
import { CONNECT, FORWARD_MODULE } from '../../core/wire/handles.ts';
import type { Maker, MakerHost } from '../../importer/children.ts';
import { LIBRARY_PARTS, modulesOf } from '../../importer/ids.ts';
import { inAnyBuiltin, inLoadedBuiltins } from '../calls/builtins.ts';
import { match } from '../calls/places.ts';
import { remoteModule } from '../calls/remote-module.ts';
import { ContextFactory } from '../context-factory.ts';
import type { ContextOptions } from '../context-options.ts';
import { profileOf } from '../modules/profile.ts';
import { ContextDirectory } from '../routing/context-directory.ts';
import type { ContextNews } from '../routing/context-directory.ts';
import { defaultName } from '../connection/naming.ts';
import { ATTACH_PARTS, partsOf } from './part-ledger.ts';

/**
 * The main thread's side of a context that makes contexts: `router.local()` and the others, and calls to what they give.
 * The work is done by the other thread (src/parent/via/connector.ts).
 */
export function start(host: MakerHost): Maker {
  const { scope, config, library, needParts, allocateId, send } = host;
  const { router } = scope;
  const log = library['log'] as LogForwarder;
  const self = library['self'] as Context;
  const forwarded = new Forwarded();
  const directory = contextsOf(host);
  const factory = new ContextFactory({
    scope,
    logLevel: config.logLevel,
    graceMs: config.graceMs,
    via: self,
    allocateId,
    // The other thread sees the end itself.
    releaseId: () => undefined,
    dropRoute: (id) => {
      router.table.delete(id);
      directory.delete(id);
    },
    direct: () => {
      throw new UsageError('ERR_TENDRIL_CHILD_CALL', 'contexts are started by the other thread of this context');
    },
    send: (_hopId, request) => {
      send(CONNECT, ['connect', request], config.id);
    },
    detach: (_hopId, viaId, id) => {
      needParts(ATTACH_PARTS);
      send(CONNECT, ['detach', viaId, id], config.id);
    },
    route: () => router.table.parent,
    // The other thread will know.
    expect: (id, name, viaId) => {
      directory.add(id, name, viaId);
    },
    stats: () => ({ sent: undefined, received: undefined, modules: undefined }),
    prepare: (context, ref) => {
      const wanted = modulesOf(ref.module).filter((module) => !module.startsWith('node:') && forwarded.note(context, module));
      if (wanted.length > 0) send(FORWARD_MODULE, [context.id, profileOf(context.nodeVersion), wanted], config.id);
    },
    onOutput: ({ name }, stream, line) => {
      log.record(`${name}.${stream}`, 'info', line);
    },
  });
  Object.assign(scope as { -readonly [key in keyof ContextScope]: ContextScope[key] }, {
    find: finder(host),
    invoke,
    current: () => {
      try {
        return (library['currentCall'] as () => CurrentCall)();
      } catch {
        return undefined;
      }
    },
    open: (module, call) => remoteModule(moduleId(host, module), call),
  } satisfies Partial<ContextScope>);
  return {
    contexts: directory.changes,
    make: (method, options: ContextOptions = {}) => {
      if (options.onProfile) throw new UsageError('ERR_TENDRIL_BAD_OPTION', 'the option onProfile is for contexts that the master makes: profiles go there');
      needParts(partsOf(method));
      return factory.make(method, options, defaultName(method, options));
    },
  };
}

/** The modules that the other thread was told to send to each context: every call would tell it again. */
class Forwarded {
  /** A context that is connected again has another ID, and nothing of what it had. */
  readonly #modules = new WeakMap<object, { readonly id: number; readonly modules: Set<string> }>();

  /** False when it is noted already. */
  note(context: { readonly id: number }, module: string): boolean {
    let known = this.#modules.get(context);
    if (known?.id !== context.id) this.#modules.set(context, (known = { id: context.id, modules: new Set() }));
    return known.modules.size < known.modules.add(module).size;
  }
}

/** The contexts behind this one: those that code here makes at once, the others as the other thread tells, from the first subscriber on. */
function contextsOf({ scope: { router }, watchContexts }: MakerHost): ContextDirectory {
  let isWatching = false;
  const directory = new ContextDirectory(router.broker.report, () => {
    if (isWatching) return;
    // Not while code here is blocked, by a `require` perhaps: subscribers run.
    const known = watchContexts((news) => { router.broker.defer(() => { directory.take(news as ContextNews); }); });
    for (const info of known) directory.take(info as ContextNews);
    isWatching = true;
  });
  router.events.subscribe({ complete: () => { directory.close(); } });
  return directory;
}

/** Finds functions of builtin modules, and of the master's modules that have been evaluated here. */
function finder({ loaded }: MakerHost): FunctionFinder {
  return (fn) => {
    const builtin = inLoadedBuiltins(fn);
    if (builtin) return builtin;
    const hits = loaded().flatMap(([module, exports]) => {
      const found = match(exports, fn);
      return found ? [{ module, ...found }] : [];
    });
    const [best] = hits.sort((one, other) => one.rank - other.rank);
    const last = best ? { module: best.module, ...best.place } : inAnyBuiltin(fn);
    if (last) return last;
    const name = fn.name === '' ? 'an anonymous function' : `the function ${fn.name}`;
    throw new UsageError('ERR_TENDRIL_NOT_CALLABLE', `${name} cannot be called in another context: no module that is loaded here exports it. Export it, or say which module it is:\nconst tasks = context.module(new URL('./tasks.js', import.meta.url));\ntasks.${fn.name === '' ? 'name' : fn.name}(...)`);
  };
}

function moduleId(host: MakerHost, module: unknown): string {
  const name = typeof module === 'string' ? module : String((module as { href?: unknown } | null | undefined)?.href);
  const id = (name.startsWith('node:') && isBuiltin(name)) || LIBRARY_PARTS.has(name) ? name : host.idOf(name);
  if (id !== undefined) return id;
  throw new UsageError('ERR_TENDRIL_NOT_CALLABLE', `module() takes the URL or path of a module of the master's, such as new URL('./tasks.js', import.meta.url), or a builtin module such as node:os, got ${inspect(module)}`);
}
