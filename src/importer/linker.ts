import { isBuiltin } from 'node:module';
import { dirname } from 'node:path';
import type { ModuleRecord } from '../core/importer/records.ts';
import { internals } from './commonjs.ts';
import { compileModule } from './compiling.ts';
import { virtualPath, virtualUrl } from './ids.ts';
import { checkAttribute, checkExtension, exposesModuleExports } from './attributes.ts';
import type { LoadedModule } from './children.ts';
import { AMBIGUOUS, exportNames, provides, resolveExport } from './es-module.ts';
import type { Dependency, EsModule, Steps } from './es-module.ts';
import { expose, namespace, synthetic, valuesOf } from './namespaces.ts';
import type { Binding } from './namespaces.ts';
import type { Store } from './store.ts';

/**
 * Links and evaluates ES modules that the master has rendered as functions, in the order of ECMA-262, section 16.2: for
 * versions of Node whose own loader cannot be given modules synchronously. Bindings are live, functions are there before
 * a module runs (so cycles work), and modules may await at their top level.
 */
export class Linker {
  readonly #store: Store;
  readonly #modules = new Map<string, EsModule>();
  readonly #others = new Map<string, Dependency>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** `import()`: the namespace, or a promise of it where something awaits. */
  import(id: string): unknown {
    const { module, run, namespace: exports } = this.#dependency(id);
    if (module === undefined) {
      run(true);
      return exports;
    }
    // What awaits has to come to its first step before it can be run in its turn.
    const gates = module.state === 'linked' ? [...closure(module, new Set())].map(({ ready }) => ready).filter((ready) => ready !== undefined) : [];
    if (gates.length > 0) return Promise.all(gates).then(() => this.#evaluate(module, [])).then(() => exports);
    const pending = this.#evaluate(module, []);
    return pending ? pending.then(() => exports) : exports;
  }

  /** The ES modules that have been evaluated, and what they export now. */
  loaded(): LoadedModule[] {
    return [...this.#modules.values()].flatMap(({ id, state, namespace: exports }) => (state === 'linking' ? [] : [[id, valuesOf(exports)] as const]));
  }

  /** `require()` of an ES module. */
  require(id: string): unknown {
    const { module, namespace: exports } = this.#dependency(id);
    if (module === undefined) return exports;
    if (module.state === 'evaluating') throw coded('ERR_REQUIRE_CYCLE_MODULE', `Cannot require() ES Module ${virtualPath(id)} in a cycle.`);
    if ([...closure(module, new Set())].some(({ link, state }) => link.async && state !== 'done')) throw coded('ERR_REQUIRE_ASYNC_MODULE', `require() cannot be used on an ESM graph with top-level await. Use import() instead: ${virtualPath(id)}`);
    void this.#evaluate(module, []);
    return asRequired(exports);
  }

  /** `import()` in the module `from`, or in a CommonJS module. */
  dynamic(from: string): (specifier: unknown, options?: { with?: { type?: string } }) => Promise<unknown> {
    return async (specifier, options) => {
      const text = String(specifier);
      // Never before what runs now has come to its end; what is not there yet takes a turn of the loop, as it does in Node.
      await Promise.resolve();
      if (this.#store.policy.isLocal(text)) return this.#local(text).namespace;
      const target = this.#store.resolve('import', from, text);
      if (!target.startsWith('node:')) this.#check(target, options?.with?.type);
      if (!this.#modules.has(target) && !this.#others.has(target)) await new Promise(setImmediate);
      const loaded = await this.import(target);
      return loaded;
    };
  }

  #dependency(id: string): Dependency {
    const begun: EsModule[] = [];
    try {
      const dependency = this.#link(id, begun);
      for (const module of begun) this.#instantiate(module);
      for (const module of begun) this.#bind(module);
      for (const module of begun) module.state = 'linked';
      return dependency;
    } catch (error) {
      // What could not be linked may be linked later; nothing of it has run.
      for (const module of begun) this.#modules.delete(module.id);
      throw error;
    }
  }

  #link(id: string, begun: EsModule[]): Dependency {
    const known = this.#modules.get(id);
    if (known) return asDependency(known);
    const other = this.#others.get(id);
    if (other) return other;
    if (id.startsWith('node:')) return this.#keep(id, this.#builtin(id));
    const record = this.#store.record(id);
    const link = record[6];
    if (record[1] !== 'module' || link === null) return this.#keep(id, commonJs(record));
    const module: EsModule = { id, link, namespace: namespace(), dependencies: [], local: new Map(), steps: undefined, state: 'linking', error: undefined, circle: 0, root: undefined, ready: undefined, pending: undefined };
    this.#modules.set(id, module);
    begun.push(module);
    for (const [specifier, , type] of link.imports) {
      if (this.#store.policy.isLocal(specifier)) {
        module.dependencies.push(this.#local(specifier));
        continue;
      }
      const target = isBuiltin(specifier) && !specifier.startsWith('node:') ? `node:${specifier}` : specifier.startsWith('node:') ? specifier : this.#store.resolve('import', id, specifier);
      if (!target.startsWith('node:')) this.#check(target, type);
      module.dependencies.push(this.#link(target, begun));
    }
    return asDependency(module);
  }

  #keep(id: string, dependency: Dependency): Dependency {
    this.#others.set(id, dependency);
    return dependency;
  }

  #check(id: string, type: string | null | undefined): void {
    const [, format] = this.#store.record(id);
    checkAttribute(virtualUrl(id), format, type);
    checkExtension(virtualPath(id), format);
  }

  #builtin(id: string): Dependency {
    const exports = this.#store.host.require(id) as object;
    const bindings = synthetic(exports, Object.keys(exports));
    // Patched builtins show as they are now, where Node shows what was synchronised last.
    for (const name of Object.keys(exports)) if (name !== 'default') bindings.set(name, () => (exports as Record<string, unknown>)[name]);
    const shown = namespace();
    expose(shown, bindings);
    return { module: undefined, namespace: shown, names: new Set(bindings.keys()), run: () => undefined };
  }

  /** A package of the child's own disk. */
  #local(specifier: string): Dependency {
    const exports = internals._load(internals._resolveFilename(specifier, null, false, { paths: [process.cwd()] }), undefined, false);
    const names = exports !== null && (typeof exports === 'object' || typeof exports === 'function') ? Object.keys(exports) : [];
    const shown = namespace();
    const esm = names.includes('default') && Object.prototype.toString.call(exports) === '[object Module]';
    expose(shown, esm ? new Map(names.map((name) => [name, () => (exports as Record<string, unknown>)[name]])) : synthetic(exports, names));
    return { module: undefined, namespace: shown, names: undefined, run: () => undefined };
  }

  /** Compiles a module and runs its first step: from now on its functions and bindings are there. */
  #instantiate(module: EsModule): void {
    const { id, link, dependencies, local } = module;
    const start = compileModule(this.#store.record(id), this.#store.takeCodeCache(id)) as (...args: unknown[]) => () => Steps;
    const define = (bindings: Record<string, Binding>): void => {
      for (const [name, binding] of Object.entries(bindings)) local.set(name, binding);
    };
    const begin = start.call(undefined, define, this.#meta(id), this.dynamic(id), ...dependencies.map((dependency) => dependency.namespace));
    module.steps = begin();
    const step = module.steps.next();
    if (step instanceof Promise) module.ready = step;
    for (const [name, index, imported] of link.reexports) {
      const from = dependencies[index]?.namespace ?? {};
      local.set(name, imported === null ? () => from : () => (from as Record<string, unknown>)[imported]);
    }
  }

  #meta(id: string): object {
    const filename = virtualPath(id);
    const resolve = (specifier: string): string => {
      // Relative ones are not looked for, as in Node.
      if (/^\.{0,2}\/|^file:/.test(specifier)) return new URL(specifier, virtualUrl(id)).href;
      const target = this.#store.resolve('import', id, specifier);
      return target.startsWith('node:') ? target : virtualUrl(target);
    };
    return Object.assign(Object.create(null) as object, { dirname: dirname(filename), filename, resolve, url: virtualUrl(id) });
  }

  /** Gives a module its namespace, and finds what is imported from others but not there. */
  #bind(module: EsModule): void {
    const bindings = new Map<string, Binding>();
    for (const name of exportNames(module, new Set())) {
      const resolution = resolveExport(module, name, new Set());
      if (resolution !== undefined && resolution !== AMBIGUOUS) bindings.set(name, resolution.binding);
    }
    expose(module.namespace, bindings);
    module.link.imports.forEach(([specifier, names], index) => {
      for (const name of names) {
        if (provides(module.dependencies[index], name)) continue;
        throw new SyntaxError(`The requested module '${specifier}' does not provide an export named '${name}' (imported by ${virtualPath(module.id)})`);
      }
    });
  }

  /** @param stack - modules that are under way, with those of circles that are not closed yet: they fail together */
  #evaluate(module: EsModule, stack: EsModule[]): Promise<void> | undefined {
    const { state, error: failure, pending } = module.root ?? module;
    switch (state) {
      case 'failed':
        throw failure;
      case 'done':
      case 'evaluating':
        return undefined;
      case 'waiting':
        return pending;
      default:
    }
    module.state = 'evaluating';
    const index = stack.push(module) - 1;
    module.circle = index;
    const waits: Promise<void>[] = [];
    try {
      for (const dependency of module.dependencies) {
        if (dependency.module) {
          const wait = this.#evaluate(dependency.module, stack);
          if (wait) waits.push(wait);
          if (stack.includes(dependency.module)) module.circle = Math.min(module.circle, dependency.module.circle);
        } else dependency.run(false);
      }
      if (waits.length === 0 && !module.link.async) {
        void module.steps?.next();
        if (module.circle === index) close(stack.splice(index), module);
        return undefined;
      }
    } catch (error) {
      for (const one of stack) fail(one, error);
      throw error;
    }
    module.state = 'waiting';
    if (module.circle === index) close(stack.splice(index), module);
    // What awaits nothing itself begins at once, as far as it gets.
    const run = (): unknown => {
      // Meanwhile another of its circle may have failed, and then it is not run, or has run in vain (AsyncModuleExecutionFulfilled).
      if (module.state === 'failed') throw module.error;
      return module.steps?.next();
    };
    const ran = waits.length === 0 ? Promise.resolve(run()) : Promise.all(waits).then(run);
    module.pending = ran.then(
      () => {
        if (module.state === 'failed') throw module.error;
        module.state = 'done';
      },
      (error: unknown) => {
        fail(module, error);
        throw error;
      },
    );
    // Whoever waits hears of it; nobody has to.
    module.pending.catch(() => undefined);
    return module.pending;
  }
}

/** A module and all ES modules that it imports. */
function closure(module: EsModule, seen: Set<EsModule>): Set<EsModule> {
  if (seen.has(module)) return seen;
  seen.add(module);
  for (const dependency of module.dependencies) if (dependency.module) closure(dependency.module, seen);
  return seen;
}

/** Of a circle, all are done when its first is, or wait with it (ECMA-262, [[CycleRoot]]). */
function close(circle: readonly EsModule[], root: EsModule): void {
  for (const one of circle) {
    one.root = root;
    if (one.state === 'evaluating') one.state = 'done';
  }
}

function fail(module: EsModule, error: unknown): void {
  module.state = 'failed';
  module.error = error;
}

function asDependency(module: EsModule): Dependency {
  return { module, namespace: module.namespace, names: undefined, run: () => undefined };
}

/** A CommonJS module, JSON or wasm: evaluated in its turn, seen as Node's lexer saw it at the master. */
function commonJs([id, format, source, , , names]: ModuleRecord): Dependency {
  if (format === 'wasm') throw coded('ERR_UNKNOWN_FILE_EXTENSION', `Unknown file extension ".wasm" for ${virtualPath(id)}; this version of Node imports it with a flag only, read it with fs`);
  const shown = namespace();
  const listed = format === 'json' ? [] : [...(exposesModuleExports ? ['module.exports'] : []), ...names.filter((name) => name !== 'module.exports')];
  const values = new Map<string, unknown>();
  let done = false;
  let failed: { readonly error: unknown } | undefined;
  const run = (again: boolean): void => {
    if (failed && again) throw failed.error;
    // The engine takes what has failed for evaluated when another module imports it, and its exports are undefined.
    if (done || failed) return;
    let exports: unknown;
    try {
      exports = id.startsWith('data:') ? JSON.parse(Buffer.from(source).toString()) : internals._load(virtualPath(id), undefined, false);
    } catch (error) {
      // An ES module sees the same failure for ever; `require` tries again.
      failed = { error };
      throw error;
    }
    done = true;
    // Read once, as Node does.
    for (const [name, binding] of synthetic(exports, listed)) values.set(name, name === 'module.exports' ? exports : binding());
  };
  const known = new Set(['default', ...listed]);
  expose(shown, new Map([...known].map((name) => [name, () => values.get(name)])));
  return { module: undefined, namespace: shown, names: known, run };
}

/** What `require()` gives for an ES module, as Node does (its documentation, "Loading ECMAScript modules using require()"). */
function asRequired(exports: object): unknown {
  const shown = exports as Record<string, unknown>;
  if ('module.exports' in shown) return shown['module.exports'];
  if (!('default' in shown) || '__esModule' in shown) return shown;
  const marked = namespace();
  const bindings = new Map<string, Binding>(Object.keys(shown).map((name) => [name, () => shown[name]]));
  bindings.set('__esModule', () => true);
  expose(marked, bindings);
  return marked;
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
