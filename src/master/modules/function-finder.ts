import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { builtinModules, createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'es-module-lexer';
import type { FunctionRef } from '../../core/call/protocol.ts';
import type { RemoteFunction } from '../../core/call/types.ts';
import { UsageError } from '../../core/errors.ts';
import { isTypeScript, stripTypes } from './transform.ts';

/** Where the inspector can see a function of another realm. */
const HANDOVER: unique symbol = Symbol.for('tendril.function') as never;

const found = new WeakMap<RemoteFunction, FunctionRef>();
let builtins: Map<unknown, FunctionRef> | undefined;

/**
 * Finds the module and the export name of a function: among the builtin modules, else where the inspector says that it
 * was written. Remembered per function.
 *
 * Throws a UsageError (ERR_TENDRIL_NOT_CALLABLE) that shows the remedy for closures, unexported and bound functions.
 */
export function findFunction(fn: RemoteFunction): FunctionRef {
  if (typeof (fn as unknown) !== 'function') throw new UsageError('ERR_TENDRIL_NOT_CALLABLE', `call() takes a function that is exported from a module, got ${typeof (fn as unknown)}; is the import right?`);
  const known = found.get(fn);
  if (known) return known;
  const ref = (builtins ??= indexBuiltins()).get(fn) ?? inRequireCache(fn) ?? atItsLocation(fn);
  found.set(fn, ref);
  return ref;
}

/** A function given as a module URL and an export name; for code that finds it by other means. */
export function remember(fn: RemoteFunction, ref: FunctionRef): void {
  found.set(fn, ref);
}

function indexBuiltins(): Map<unknown, FunctionRef> {
  const index = new Map<unknown, FunctionRef>();
  const require = createRequire(import.meta.url);
  for (const name of builtinModules) {
    // Underscored and experimental modules warn when they are touched.
    if (name.startsWith('_') || /^(?:node:)?(?:sys|wasi|punycode|trace_events|ffi|sqlite|vfs)$/.test(name)) continue;
    const module = `node:${name.replace(/^node:/, '')}`;
    const exports = require(module) as Record<string, unknown>;
    for (const key of Object.keys(exports)) {
      if (Object.getOwnPropertyDescriptor(exports, key)?.get) continue;
      const value = exports[key];
      if (typeof value === 'function' && !index.has(value)) index.set(value, { module, className: null, name: key });
    }
  }
  return index;
}

/** CommonJS keeps every module at hand, so identity decides. */
function inRequireCache(fn: RemoteFunction): FunctionRef | undefined {
  const { cache } = createRequire(import.meta.url);
  for (const [path, module] of Object.entries(cache)) {
    const exports = module?.exports as unknown;
    if (exports === fn) return { module: pathToFileURL(path).href, className: null, name: 'default' };
    if (typeof exports !== 'object' || exports === null) continue;
    for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(exports))) {
      if (descriptor.value === fn) return { module: pathToFileURL(path).href, className: null, name: key };
    }
  }
  return undefined;
}

/** ESM tells nobody which namespaces there are; the engine knows where each function was written. */
function atItsLocation(fn: RemoteFunction): FunctionRef {
  const { url, line } = sourceOf(fn) ?? {};
  if (url === undefined || line === undefined) throw notCallable(fn, 'it is bound, native or made by eval');
  const module = url.startsWith('file:') ? url : url.startsWith('/') ? pathToFileURL(url).href : undefined;
  if (module === undefined) throw notCallable(fn, `it comes from ${url}, which is not a file`);
  const path = fileURLToPath(module);
  const source = readFileSync(path, 'utf8');
  if (fn.name === '') throw notCallable(fn, `it has no name (${path})`);
  const className = staticOwner(fn, source, line);
  const exported = exportedAs(path, source, className ?? fn.name);
  if (exported === undefined) throw notCallable(fn, `${path} does not export it`);
  return className === undefined ? { module, className: null, name: exported } : { module, className: exported, name: fn.name };
}

/** Class of a static method: the last one that begins before it. A method is not written with `function` or an arrow. */
function staticOwner(fn: RemoteFunction, source: string, line: number): string | undefined {
  const text = Function.prototype.toString.call(fn);
  if (/^(?:async\s+)?function\b|^(?:async\s*)?\([^]*?\)\s*=>|^(?:async\s+)?[\w$]+\s*=>/.test(text)) return undefined;
  const before = source.split('\n').slice(0, line + 1).join('\n');
  return [...before.matchAll(/\bclass\s+([\w$]+)/g)].at(-1)?.[1];
}

/** The name under which a module exports the local name, or undefined. */
function exportedAs(path: string, source: string, local: string): string | undefined {
  const text = isTypeScript(path) ? stripTypes(path, source) : source;
  for (const entry of parse(text)[1]) {
    if (entry.type === 'direct' && (entry.localName ?? entry.name) === local) return entry.name;
  }
  return undefined;
}

interface LocationReply {
  internalProperties?: { name: string; value?: { value?: { scriptId: string; lineNumber: number } } }[];
}

/** The script that a function was written in, and the line (from 0) where it begins. */
function sourceOf(fn: RemoteFunction): { url: string | undefined; line: number } | undefined {
  const urls = new Map<string, string>();
  const session = new Session();
  session.connect();
  try {
    session.on('Debugger.scriptParsed', ({ params }) => {
      urls.set(params.scriptId, params.url);
    });
    // The inspector evaluates in the main realm; a builtin's own class is the same object in every realm of the process.
    (Session as unknown as Record<symbol, unknown>)[HANDOVER] = fn;
    let location: { scriptId: string; lineNumber: number } | undefined;
    session.post('Runtime.evaluate', { expression: 'process.getBuiltinModule("node:inspector").Session[Symbol.for("tendril.function")]' }, (_error, evaluated) => {
      const { objectId } = (evaluated as { result: { objectId?: string } }).result;
      if (objectId === undefined) return;
      session.post('Runtime.getProperties', { objectId, ownProperties: true }, (__error, properties) => {
        location = (properties as LocationReply).internalProperties?.find(({ name }) => name === '[[FunctionLocation]]')?.value?.value;
      });
    });
    // Enabling the debugger makes the engine compile more slowly: only when there is something to look up.
    if (location === undefined) return undefined;
    session.post('Debugger.enable');
    session.post('Debugger.disable');
    return { url: urls.get(location.scriptId), line: location.lineNumber };
  } finally {
    Reflect.deleteProperty(Session, HANDOVER);
    session.disconnect();
  }
}

function notCallable(fn: RemoteFunction, why: string): UsageError {
  const name = fn.name === '' ? 'an anonymous function' : `the function ${fn.name}`;
  const remedy = `export function ${/^[\w$]+$/.test(fn.name) ? fn.name : 'task'}(...) { ... }   // in a module\ncontext.call(${/^[\w$]+$/.test(fn.name) ? fn.name : 'task'}, ...)   // values that it closes over become arguments`;
  return new UsageError('ERR_TENDRIL_NOT_CALLABLE', `${name} cannot be called in another context: ${why}. Export it from a module and import it from there:\n${remedy}`);
}
