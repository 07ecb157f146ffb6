import { isBuiltin } from 'node:module';
import { Module } from './builtins.ts';
import { nativeAddon } from './failures.ts';
import { VIRTUAL_ROOT, idOfPath, isVirtualPath, isVirtualUrl, idOfUrl, masterPath, virtualPath } from './ids.ts';
import type { LoadedModule } from './children.ts';
import type { Store } from './store.ts';

/** The parts of Node's CommonJS loader that are used; none of them is documented, all of them are as old as npm. */
export interface CommonJsModule {
  id: string;
  filename: string | null;
  exports: unknown;
  paths: string[];
  loaded: boolean;
  require(specifier: string): unknown;
  _compile(source: string, filename: string): unknown;
}

type Resolve = (request: unknown, parent: Partial<CommonJsModule> | undefined | null, isMain?: boolean, options?: { paths?: string[] }) => string;

export interface ModuleInternals {
  new (id: string, parent?: CommonJsModule): CommonJsModule;
  _resolveFilename: Resolve;
  _load(request: string, parent: CommonJsModule | undefined, isMain: boolean): unknown;
  _cache: Record<string, CommonJsModule | undefined>;
  _extensions: Record<string, ((module: CommonJsModule, filename: string) => void) | undefined>;
  _nodeModulePaths(directory: string): string[];
  _resolveLookupPaths(request: string, parent: CommonJsModule): string[] | null;
  prototype: { load: (this: CommonJsModule, filename: string) => void; _compile: (this: CommonJsModule, source: string, filename: string, ...more: unknown[]) => unknown };
}

/** The main module of the process by its old name: what `require.main` is in every module is taken from it. */
export interface MainHolder {
  mainModule?: CommonJsModule;
}

export const internals = Module as unknown as ModuleInternals;

/**
 * `import()` by Node's own loader, which scripts that come from nowhere do not have; the modules that the CommonJS loader
 * compiles do.
 */
export function nativeImport(): (url: string) => Promise<unknown> {
  const module = new internals(`${VIRTUAL_ROOT}/.import.cjs`);
  module.filename = module.id;
  module._compile('module.exports=(url)=>import(url)', module.id);
  return module.exports as (url: string) => Promise<unknown>;
}

/** The CommonJS modules of the master's that have been evaluated. */
export function loadedCommonJs(store: Store): LoadedModule[] {
  return [...store.ids].flatMap((id) => {
    const module = store.formatOf(id) === 'commonjs' ? internals._cache[virtualPath(id)] : undefined;
    return module === undefined ? [] : [[id, module.exports] as const];
  });
}

/** The `require` that a module is called with. */
export function requireOf(module: CommonJsModule): (specifier: string) => unknown {
  const require = (specifier: string): unknown => module.require(specifier);
  const resolve = (request: string, options?: { paths?: string[] }): string => internals._resolveFilename(request, module, false, options);
  Object.assign(resolve, { paths: (request: string) => internals._resolveLookupPaths(request, module) });
  return Object.assign(require, { resolve, main: (process as unknown as MainHolder).mainModule, cache: internals._cache, extensions: internals._extensions });
}

/** Modules from the child's own disk are looked for from here. */
export function localBase(): string {
  return `${process.cwd()}/tendril`;
}

/**
 * Makes `require.resolve()` and, below Node 22.15, `require()` ask the store when a module of the master's asks. All
 * versions go through this function for `require.resolve`, also those whose hooks cover `require`.
 */
export function patchResolution(store: Store): void {
  const original = internals._resolveFilename;
  internals._resolveFilename = function (request, parent, isMain, options) {
    const from = originOf(parent, options);
    if (typeof request !== 'string' || isBuiltin(request) || (from === undefined && !isVirtualPath(request))) return original.call(this, request, parent, isMain, options);
    if (store.policy.isLocal(request)) return original.call(this, request, null, isMain, { paths: [process.cwd()] });
    const target = store.resolve('require', from ?? idOfPath(request), request);
    // What the master calls a builtin may not be one of this Node's; its own loader says so.
    return target.startsWith('node:') ? original.call(this, target, parent, isMain, options) : filenameOf(target);
  };
}

function filenameOf(target: string): string {
  return target.startsWith('file:') ? virtualPath(target) : target;
}

/** The ID of the module that asks; undefined when it is none of the master's. */
function originOf(parent: Partial<CommonJsModule> | undefined | null, options: { paths?: string[] } | undefined): string | undefined {
  const [path] = options?.paths ?? [];
  if (isVirtualPath(path) || path === VIRTUAL_ROOT) return idOfPath(`${path}/[paths]`);
  if (path !== undefined) return undefined;
  const filename = parent?.filename;
  if (isVirtualPath(filename)) return idOfPath(filename);
  return isVirtualUrl(filename) ? idOfUrl(filename) : undefined;
}

/** Native addons of the master's cannot be opened here; the error says what can be done. */
export function refuseAddons(store: Store): void {
  const original = process.dlopen.bind(process);
  process.dlopen = (module: object, filename: string, flags?: number) => {
    if (isVirtualPath(filename)) throw nativeAddon(masterPath(filename), store.host.error);
    // An explicit undefined is not the same as none.
    if (flags === undefined) original(module, filename);
    else original(module, filename, flags);
  };
}

/**
 * `node -e` puts the parts of CommonJS and all builtin modules among the globals, where no module of a program finds them;
 * many look for `require` or `module` to learn how they are run.
 */
export function clearGlobals(): void {
  const globals = globalThis as unknown as Record<string, unknown>;
  for (const name of ['require', 'module', 'exports', '__filename', '__dirname']) Reflect.deleteProperty(globals, name);
  for (const name of Module.builtinModules) {
    const descriptor = Object.getOwnPropertyDescriptor(globals, name);
    // Those are accessors that nobody enumerates; process and console stay.
    if (name === 'process' || name === 'console' || descriptor?.get === undefined || descriptor.enumerable === true) continue;
    Reflect.deleteProperty(globals, name);
  }
  // The web's, which the module of this name had hidden.
  if (!('crypto' in globals)) {
    Object.defineProperty(globals, 'crypto', { configurable: true, enumerable: true, get: () => process.getBuiltinModule('node:crypto').webcrypto });
  }
}

/**
 * Guards of main scripts compare these with something; in a child they are nobody's, and must not be undefined, because
 * some guards convert them.
 */
export function nobodyIsMain(): void {
  const nobody = `${VIRTUAL_ROOT}/.main`;
  if (process.argv.length < 2) process.argv.push(nobody);
  const holder = process as unknown as MainHolder;
  if (holder.mainModule !== undefined) return;
  const main = new internals(nobody);
  main.filename = nobody;
  holder.mainModule = main;
}
