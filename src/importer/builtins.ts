/**
 * The builtin modules whose parts are replaced here, as they are: for a default import the bundler would make a copy of
 * each, name by name, which takes as long as all else that the importer does at its start.
 */
export const fs: typeof import('node:fs') = process.getBuiltinModule('node:fs');
export const workers: typeof import('node:worker_threads') = process.getBuiltinModule('node:worker_threads');
export const Module: typeof import('node:module') = process.getBuiltinModule('node:module');

type AnyFunction = (...args: never[]) => unknown;

/** What every function has. Copying the descriptors of these is most of the work, and nobody makes instances of what is replaced. */
const USUAL = new Set<PropertyKey>(['length', 'name', 'prototype']);

/** Gives a replacement what hangs at the function that it replaces: its name and length, and things such as util.promisify.custom. */
export function dress(replacement: AnyFunction, original: AnyFunction): void {
  Object.defineProperty(replacement, 'name', { value: original.name });
  Object.defineProperty(replacement, 'length', { value: original.length });
  for (const key of Reflect.ownKeys(original)) {
    if (USUAL.has(key)) continue;
    Object.defineProperty(replacement, key, Object.getOwnPropertyDescriptor(original, key) ?? {});
  }
}
