import { parse } from 'cjs-module-lexer';
import type { FunctionRef } from '../../core/call/protocol.ts';
import type { RemoteFunction, ServiceClass } from '../../core/call/types.ts';
import { UsageError } from '../../core/errors.ts';
import { inAnyBuiltin, inLoadedBuiltins } from '../../parent/calls/builtins.ts';
import { callerFiles } from './find/callers.ts';
import { findInEngine } from './find/engine.ts';
import { lexFile, moduleOf, pathOf, read } from './find/files.ts';
import type { Inspected } from './find/inspection.ts';
import { isCommonJsLoaded } from './find/loaded.ts';
import { inCommonJs, inImportsOf } from './find/modules.ts';
import { isClass, notCallable } from './find/not-callable.ts';

const NO_CALLERS: readonly string[] = [];
const found = new WeakMap<RemoteFunction, FunctionRef>();

/**
 * Finds the module and the export name of a function, and remembers it. It compares with what the modules that are
 * loaded export: builtin modules, CommonJS modules, the ES modules that the callers import. Where that does not tell,
 * the engine says where the function was written, and what the variables of that module are (docs/decisions.md).
 *
 * Throws a UsageError (ERR_TENDRIL_NOT_CALLABLE) that shows the remedy for closures, unexported and bound functions.
 *
 * @param callers - the files from which it is called, as {@link callersOf} gives them
 */
export function findFunction(fn: RemoteFunction, callers: readonly string[] = NO_CALLERS): FunctionRef {
  if (typeof (fn as unknown) !== 'function') throw new UsageError('ERR_TENDRIL_NOT_CALLABLE', `call() takes a function that is exported from a module, got ${typeof (fn as unknown)}; is the import right?`);
  let ref = found.get(fn);
  if (ref === undefined) {
    if (isClass(fn)) throw notCallable(fn, undefined, callers);
    ref = inLoadedBuiltins(fn) ?? inImportsOf(callers, fn) ?? inCommonJs(fn) ?? inEngine(fn, callers);
    found.set(fn, ref);
  }
  return ref;
}

/** Finds the module and the name of the export that a class of services is. Throws ERR_TENDRIL_BAD_SERVICE. */
export function findClass(service: ServiceClass): FunctionRef {
  const fn = service as unknown as RemoteFunction;
  if (typeof (fn as unknown) !== 'function') throw new UsageError('ERR_TENDRIL_BAD_SERVICE', `a service is a class with a static member methods, got ${typeof (fn as unknown)}; is the import right?`);
  let ref = found.get(fn);
  if (ref === undefined) {
    const place = inImportsOf(callerFiles(), fn) ?? inCommonJs(fn) ?? findInEngine(fn).ref;
    if (place?.className !== null) throw new UsageError('ERR_TENDRIL_BAD_SERVICE', `the class ${fn.name} cannot be named to others, because no module that is loaded exports it by a name of its own; export it, or serve it under a name`);
    // Calls name the class and its methods.
    found.set(fn, (ref = { module: place.module, className: place.name, name: '' }));
  }
  return ref;
}

/** The files that are on the stack, to be taken where call() is called; nothing for a function that is known. */
export function callersOf(fn: RemoteFunction): readonly string[] {
  return found.has(fn) ? NO_CALLERS : callerFiles();
}

function inEngine(fn: RemoteFunction, callers: readonly string[]): FunctionRef {
  const { ref, inspected, others } = findInEngine(fn);
  for (const [other, itsRef] of others) if (!found.has(other)) found.set(other, itsRef);
  const last = ref ?? (inspected && (ofNode(fn, inspected) ?? byName(fn, inspected)));
  if (last === undefined) throw notCallable(fn, inspected, callers);
  return last;
}

function ofNode(fn: RemoteFunction, { script, bound }: Inspected): FunctionRef | undefined {
  return !bound && (script?.url.startsWith('node:') ?? true) ? inAnyBuiltin(fn) : undefined;
}

/** A CommonJS module that no cache has any more can only be asked by name. */
function byName(fn: RemoteFunction, { script }: Inspected): FunctionRef | undefined {
  const path = script === undefined || script.isModule ? undefined : pathOf(script.url);
  if (path === undefined || fn.name === '' || isCommonJsLoaded(path)) return undefined;
  const [, exports, , isEsm] = lexFile(path) ?? [];
  const entry = exports?.find((candidate) => candidate.type === 'direct' && candidate.localName === fn.name);
  const name = entry?.type === 'direct' ? entry.name : isEsm === false && commonJsNames(path).includes(fn.name) ? fn.name : undefined;
  return name === undefined ? undefined : { module: moduleOf(path), className: null, name };
}

function commonJsNames(path: string): readonly string[] {
  try {
    return parse(read(path) ?? '').exports;
  } catch {
    return [];
  }
}
