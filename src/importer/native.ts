import { isBuiltin, syncBuiltinESMExports } from 'node:module';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { constants } from 'node:vm';
import type { Importer, ImporterHost } from '../core/importer/importer.ts';
import { serveFiles } from './assets.ts';
import { Module } from './builtins.ts';
import { checkAttribute, checkExtension, exposesModuleExports } from './attributes.ts';
import { clearGlobals, internals, loadedCommonJs, localBase, nativeImport, nobodyIsMain, patchResolution, refuseAddons, requireOf } from './commonjs.ts';
import { compileModule, textOf } from './compiling.ts';
import { idOfPath, idOfUrl, isVirtualPath, isVirtualUrl, virtualPath, virtualUrl } from './ids.ts';
import type { LoadedModule } from './children.ts';
import { Store } from './store.ts';
import { feeding, hasCodeCaches, serveWorkers, startWith } from './workers.ts';
import type { WorkerImporter, WorkerStart } from './workers.ts';

const REQUIRE: unique symbol = Symbol.for('tendril.require') as never;

interface HookContext {
  readonly conditions?: readonly string[] | ReadonlySet<string>;
  readonly parentURL?: string | undefined;
  readonly importAttributes?: Readonly<Record<string, string>>;
}

interface Resolved {
  url: string;
  format?: string | undefined;
  shortCircuit?: boolean;
  importAttributes?: Readonly<Record<string, string>> | undefined;
}

interface Loaded {
  format: string;
  source: string | Uint8Array;
  shortCircuit: boolean;
}

interface Hooks {
  resolve(specifier: string, context: HookContext, next: (specifier: string, context: HookContext) => Resolved): Resolved;
  load(url: string, context: HookContext, next: (url: string, context: HookContext) => Loaded): Loaded;
}

/** Some versions of Node give a Set here, and some an array. */
function fromRequire({ conditions }: HookContext): boolean {
  if (conditions === undefined) return false;
  return 'has' in conditions ? conditions.has('require') : conditions.includes('require');
}

/**
 * The importer for Node 22.15 and newer: Node's own loaders, whose questions are answered by the master through
 * `module.registerHooks`.
 *
 * Two things are not left to the hooks, because some of these versions have errors there: what `import` sees of a
 * CommonJS module is an ES module that is written here, and `require.resolve` is patched.
 */
export function start(given: ImporterHost | WorkerStart, part: string): Importer {
  return startWith(given, part, create);
}

function create(host: ImporterHost, part: string): WorkerImporter {
  const store: Store = new Store(host, 'native', () => [...loadedEsModules(store), ...loadedCommonJs(store)], (id) => evaluate(id));
  (Module as unknown as { registerHooks(hooks: Hooks): void }).registerHooks({
    resolve: (specifier, context, next) => resolve(store, specifier, context, next),
    load: (url, context, next) => load(store, url, context, next),
  });
  Object.defineProperty(globalThis, REQUIRE, { value: (path: string) => internals._load(path, undefined, false) });
  patchResolution(store);
  refuseAddons(store);
  clearGlobals();
  nobodyIsMain();
  serveFiles(store);
  serveWorkers(store, part);
  syncBuiltinESMExports();
  const importModule = nativeImport();
  const fed = feeding(store);
  let compiles = false;
  const evaluate = (id: string): unknown => store.services.find(id) ?? store.chains.find(id) ?? (store.record(id)[1] === 'module' ? importModule(virtualUrl(id)) : internals._load(virtualPath(id), undefined, false));
  return {
    ...fed,
    take: (handle, value) => {
      const withCaches = hasCodeCaches(handle, value);
      if (withCaches && !compiles) compileFromCaches(store);
      compiles ||= withCaches;
      fed.take(handle, value);
    },
    load: evaluate,
  };
}

/**
 * Compiles the CommonJS modules that have code caches, which Node's loader cannot be given. What comes with another text
 * than the master's (user code may change it on the way) has none.
 */
function compileFromCaches(store: Store): void {
  const { prototype } = internals;
  const original = prototype._compile;
  prototype._compile = function (source, filename, ...more) {
    const cache = isVirtualPath(filename) ? store.takeCodeCache(idOfPath(filename)) : undefined;
    const record = cache && store.record(idOfPath(filename));
    if (record === undefined || textOf(record[2]) !== source) return original.call(this, source, filename, ...more);
    const body = compileModule(record, cache, { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER });
    return body.call(this.exports, this.exports, requireOf(this), this, filename, dirname(filename));
  };
}

function resolve(store: Store, specifier: string, context: HookContext, next: (specifier: string, context: HookContext) => Resolved): Resolved {
  const { parentURL } = context;
  const known = isVirtualUrl(specifier) ? idOfUrl(specifier) : isVirtualPath(specifier) ? idOfPath(specifier) : undefined;
  if (known !== undefined && store.formatOf(known) !== undefined) return found(store, known, context);
  const from = isVirtualUrl(parentURL) ? idOfUrl(parentURL) : known;
  if (from === undefined || isBuiltin(specifier) || specifier.startsWith('data:')) return next(specifier, context);
  if (store.policy.isLocal(specifier)) return next(specifier, { ...context, parentURL: pathToFileURL(localBase()).href });
  // By way of what we have put in the place of `Module._resolveFilename`: it hears of `paths`, and so does user code that has
  // put something of its own there.
  if (fromRequire(context)) return next(specifier, context);
  let target: string;
  try {
    target = store.resolve('import', from, specifier);
  } catch (error) {
    if (!/^\.{0,2}\/|^file:/.test(specifier) || (error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    // `import.meta.resolve` does not look whether a file is there, and cannot be told from `import` here: that fails when it loads.
    const { href } = new URL(specifier, parentURL);
    absent.set(href, error);
    return { url: href, format: 'module', shortCircuit: true };
  }
  return target.startsWith('node:') ? next(target, context) : found(store, target, context);
}

/** Why files are not there that somebody wants to import. */
const absent = new Map<string, unknown>();

function found(store: Store, id: string, { importAttributes }: HookContext): Resolved {
  return { url: virtualUrl(id), format: store.formatOf(id), shortCircuit: true, importAttributes };
}

function load(store: Store, url: string, context: HookContext, next: (url: string, context: HookContext) => Loaded): Loaded {
  if (absent.has(url)) throw absent.get(url);
  if (!isVirtualUrl(url)) {
    // What no loader knows fails there; with hooks, Node would say that the hook is wrong.
    const type = /^data:([^;,]*)/.exec(url)?.[1];
    if (type !== undefined && !/^(?:text\/javascript|application\/(?:json|wasm))$/.test(type)) throw Object.assign(new RangeError(`Unknown module format: ${type} for URL ${url}`), { code: 'ERR_UNKNOWN_MODULE_FORMAT' });
    return next(url, context);
  }
  const [id, format, source, , , names] = store.record(idOfUrl(url));
  if (format === 'module') begun.add(id);
  const required = fromRequire(context);
  if (!required) {
    checkAttribute(url, format, context.importAttributes?.['type']);
    checkExtension(virtualPath(id), format);
  }
  if (format === 'commonjs' && !required) return { format: 'module', source: facade(virtualPath(id), names), shortCircuit: true };
  return { format, source: format === 'wasm' ? source : textOf(source), shortCircuit: true };
}

/** ES modules whose evaluation has begun. */
const begun = new Set<string>();

/** The ES modules that have been evaluated: `require` gives their namespaces, but for those that await. */
function loadedEsModules(store: Store): LoadedModule[] {
  return [...begun].flatMap((id) => {
    try {
      return store.formatOf(id) === 'module' ? [[id, internals._load(virtualPath(id), undefined, false)] as const] : [];
    } catch {
      return [];
    }
  });
}

/** What `import` sees of a CommonJS module: its exports as default and as `module.exports`, and the names that were found in it. */
function facade(path: string, names: readonly string[]): string {
  const listed = names.filter((name) => name !== 'default' && name !== 'module.exports');
  const reads = listed.map((name, index) => `e${String(index)}=g(${JSON.stringify(name)})`);
  const exports = listed.map((name, index) => `e${String(index)} as ${JSON.stringify(name)}`);
  return [
    `var m=globalThis[Symbol.for('tendril.require')](${JSON.stringify(path)})`,
    // As Node does: in a circle they are undefined at first; own properties only, and a getter that throws gives undefined.
    'const g=(k)=>{try{return m!=null&&Object.hasOwn(m,k)?m[k]:void 0}catch{}}',
    ...(reads.length > 0 ? [`var ${reads.join(',')}`] : []),
    `export{${['m as default', ...(exposesModuleExports ? ['m as "module.exports"'] : []), ...exports].join(',')}}`,
  ].join(';');
}
