/**
 * The builtin modules whose parts are replaced here, as they are: for a default import the bundler would make a copy of
 * each, name by name, which takes as long as all else that the importer does at its start.
 */
export const fs: typeof import('node:fs') = process.getBuiltinModule('node:fs');
export const workers: typeof import('node:worker_threads') = process.getBuiltinModule('node:worker_threads');
export const Module: typeof import('node:module') = process.getBuiltinModule('node:module');

type AnyFunction = (...args: never[]) => unknown;

/** Gives a replacement what hangs at the function that it replaces: its name and length, and things such as util.promisify.custom. */
export function dress(replacement: AnyFunction, original: AnyFunction): void {
  for (const key of Reflect.ownKeys(original)) {
    // The last of these is made on first use, and nobody makes instances of them.
    if (key === 'prototype') continue;
    Object.defineProperty(replacement, key, Object.getOwnPropertyDescriptor(original, key) ?? {});
  }
}
