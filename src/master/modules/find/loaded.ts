import Module, { createRequire } from 'node:module';

/** The cache of CommonJS modules; in jest, that of the test. */
const { cache } = createRequire(import.meta.url);
const namespaces = new Map<string, unknown>();

/** The CommonJS modules that are loaded, with their exports. */
export function commonJsModules(): (readonly [path: string, exports: unknown])[] {
  return Object.entries(cache).flatMap(([path, module]) => (path.endsWith('.json') ? [] : [[path, module?.exports as unknown] as const]));
}

/** Whether a CommonJS module that is loaded exports the name. */
export function hasExport(path: string, name: string): boolean {
  const exports: unknown = cache[path]?.exports;
  return typeof exports === 'object' && exports !== null && Object.hasOwn(exports, name);
}

/** Whether a file is loaded as a CommonJS module. */
export function isCommonJsLoaded(path: string): boolean {
  return cache[path]?.loaded === true;
}

/** What a module exports that has been evaluated, of either kind; undefined for one that has not. */
export function exportsOf(path: string): unknown {
  const module = cache[path];
  return module ? (module.exports as unknown) : namespaceOf(path);
}

/**
 * The exports of an ES module that has been evaluated; undefined for any other, and for one whose graph awaits at its
 * top level.
 *
 * Node gives the namespace of an evaluated module to whoever would load it by `require`. The text that is given here
 * for it is one that nothing can be made of: a module that is not loaded is a SyntaxError, and stays not loaded.
 */
function namespaceOf(path: string): unknown {
  if (namespaces.has(path)) return namespaces.get(path);
  const module = Object.assign(new Module(path), { filename: path, paths: [] }) as unknown as { exports: unknown; _compile(source: string, path: string, format: 'module'): void };
  try {
    withoutWarnings(() => {
      module._compile('}', path, 'module');
    });
  } catch {
    return undefined;
  }
  namespaces.set(path, module.exports);
  return module.exports;
}

/** Some versions of Node warn of the first ES module that is required, which the program has not done. */
function withoutWarnings(work: () => void): void {
  const emitWarning: unknown = Reflect.get(process, 'emitWarning');
  process.emitWarning = (...args: unknown[]) => {
    if (!/\brequire\(\)/.test(String(args[0]))) Reflect.apply(emitWarning as (...args: unknown[]) => void, process, args);
  };
  try {
    work();
  } finally {
    Reflect.set(process, 'emitWarning', emitWarning);
  }
}
