import { builtinModules } from 'node:module';
import type { FunctionRef } from '../../core/call/protocol.ts';
import type { RemoteFunction } from '../../core/call/types.ts';

/** Those that warn when they are touched, and other names of the same functions. */
const LEFT_OUT = /^_|^(?:node:)?(?:sys|wasi|punycode|trace_events|ffi|sqlite|vfs)$/;

const functions = new Map<unknown, FunctionRef>();
const classes: [value: object, ref: FunctionRef][] = [];
const indexed = new Set<string>();

/** A function of a builtin module that this process has loaded: whoever has the function has loaded its module. */
export function inLoadedBuiltins(fn: RemoteFunction): FunctionRef | undefined {
  // Not documented, and in jest a copy that may be old; so it only saves work, and inAnyBuiltin looks at the others.
  const { moduleLoadList } = process as { moduleLoadList?: readonly string[] };
  const loaded = moduleLoadList && new Set(moduleLoadList);
  index((name) => loaded?.has(`NativeModule ${name.replace(/^node:/, '')}`) ?? true);
  return find(fn);
}

/** A function of any builtin module. Loads them all, so only for what Node itself has written. */
export function inAnyBuiltin(fn: RemoteFunction): FunctionRef | undefined {
  index(() => true);
  return find(fn);
}

function find(fn: RemoteFunction): FunctionRef | undefined {
  const known = functions.get(fn);
  if (known !== undefined || fn.name === '') return known;
  const owner = classes.find(([value]) => Object.getOwnPropertyDescriptor(value, fn.name)?.value === fn)?.[1];
  return owner && { module: owner.module, className: owner.name, name: fn.name };
}

function index(wanted: (name: string) => boolean): void {
  for (const name of builtinModules) {
    if (indexed.has(name) || LEFT_OUT.test(name) || !wanted(name)) continue;
    indexed.add(name);
    const module = `node:${name.replace(/^node:/, '')}`;
    const exports = process.getBuiltinModule(module) as unknown as Record<string, unknown> | undefined;
    if (exports === undefined) continue;
    for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(exports)) as [string, PropertyDescriptor & { value: unknown }][]) {
      if (typeof value !== 'function' || functions.has(value)) continue;
      const ref = { module, className: null, name: key };
      functions.set(value, ref);
      classes.push([value, ref]);
    }
  }
}
