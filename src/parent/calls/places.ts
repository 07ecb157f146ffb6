import type { RemoteFunction } from '../../core/call/types.ts';

/** Where a function is in its module: an export, or a static method of an exported class. */
export interface Place {
  readonly className: string | null;
  readonly name: string;
}

/** How good a place is: the lowest number counts, whichever module it is in. */
export const EXPORT = 0;
export const OWN_STATIC = 1;
/** Of a class that has it from one that is not exported. */
export const INHERITED_STATIC = 2;

/** A place of a function, and how good it is. */
export interface Match {
  readonly rank: number;
  readonly place: Place;
}

/** What compilers write for an export: it gives a variable, or a member of one, and runs nothing. */
const PLAIN_GETTER = /^(?:get\b[^(]*|function\b[^(]*)?\(\)\s*(?:=>\s*)?\{?\s*(?:return\s+)?[\w$]+(?:\.[\w$]+|\[[\w$'"]+\])*;?\s*\}?$/;

/** Keys that functions have by nature. */
const OF_FUNCTIONS: ReadonlySet<string> = new Set(['arguments', 'caller', 'length', 'name', 'prototype']);

const plainGetters = new WeakMap<object, boolean>();

/**
 * Looks for a function among the exports of a module, by identity. The name `default` stands for what a CommonJS module
 * exports as a whole too.
 *
 * @param thorough - also finds static methods under other names than their own
 */
export function match(exports: unknown, fn: RemoteFunction, thorough = true): Match | undefined {
  if (exports === fn) return !('default' in fn) || fn.default === fn ? { rank: EXPORT, place: { className: null, name: 'default' } } : undefined;
  let best: Match | undefined;
  for (const key of keysOf(exports)) {
    const value = valueAt(exports as object, key);
    if (value === fn) return { rank: EXPORT, place: { className: null, name: key } };
    if (typeof value === 'function') best = better(best, staticOf(value, key, fn, thorough));
  }
  // Its own static methods are exports, and have been looked at.
  return typeof exports === 'function' && !('default' in exports) ? better(best, staticOf(exports, 'default', fn, thorough)) : best;
}

function better(one: Match | undefined, other: Match | undefined): Match | undefined {
  return one === undefined || (other !== undefined && other.rank < one.rank) ? other : one;
}

function staticOf(holder: object, className: string, fn: RemoteFunction, thorough: boolean): Match | undefined {
  let rank = OWN_STATIC;
  for (let at: unknown = holder; typeof at === 'function' && (at === holder || Object.hasOwn(at, 'prototype')); at = Object.getPrototypeOf(at)) {
    const name = ownKey(at, fn, thorough);
    if (name !== undefined) return { rank, place: { className, name } };
    rank = INHERITED_STATIC;
  }
  return undefined;
}

/** The key of a static method. */
function ownKey(holder: object, fn: RemoteFunction, thorough: boolean): string | undefined {
  if (fn.name !== '' && Object.getOwnPropertyDescriptor(holder, fn.name)?.value === fn) return fn.name;
  return thorough ? Object.getOwnPropertyNames(holder).find((key) => !OF_FUNCTIONS.has(key) && Object.getOwnPropertyDescriptor(holder, key)?.value === fn) : undefined;
}

function keysOf(exports: unknown): string[] {
  if ((typeof exports !== 'object' && typeof exports !== 'function') || exports === null || Array.isArray(exports) || ArrayBuffer.isView(exports)) return [];
  const keys = Object.getOwnPropertyNames(exports);
  return typeof exports === 'function' ? keys.filter((key) => !OF_FUNCTIONS.has(key)) : keys;
}

/** The value of an export. Getters run only where a compiler has written them, because others may do anything. */
function valueAt(exports: object, key: string): unknown {
  try {
    const { get, value } = (Object.getOwnPropertyDescriptor(exports, key) ?? {}) as { get?: (this: unknown) => unknown; value?: unknown };
    if (get === undefined) return value;
    const compiled = Object.getOwnPropertyDescriptor(exports, '__esModule')?.value === true;
    return compiled && isPlain(get) ? get.call(exports) : undefined;
  } catch {
    // A binding before its initialisation, or the trap of a Proxy.
    return undefined;
  }
}

function isPlain(get: object): boolean {
  let plain = plainGetters.get(get);
  if (plain === undefined) plainGetters.set(get, (plain = PLAIN_GETTER.test(Function.prototype.toString.call(get))));
  return plain;
}
