import type { FunctionRef } from '../../../core/call/protocol.ts';
import type { RemoteFunction } from '../../../core/call/types.ts';
import { settled } from './callers.ts';
import { importedFile, lexFile, moduleOf, pathOf, read } from './files.ts';
import { commonJsModules, exportsOf, isCommonJsLoaded } from './loaded.ts';
import { match } from '../../../parent/calls/places.ts';
import type { Match, Place } from '../../../parent/calls/places.ts';

interface Hit {
  readonly path: string;
  readonly place: Place;
}

const REQUIRED = /\brequire\(\s*(['"])([^'"\n]+)\1\s*\)/g;
const imports = new Map<string, readonly string[]>();

/** A function among the exports of the modules that its callers import, and of the callers themselves. */
export function inImportsOf(callers: readonly string[], fn: RemoteFunction): FunctionRef | undefined {
  const hit = best([...new Set(settled(callers).flatMap((caller) => [...importsOf(caller), caller]))].map((path) => [path, match(exportsOf(path), fn)]))[0];
  if (hit === undefined) return undefined;
  // A CommonJS module does not say what it exports of others.
  if (isCommonJsLoaded(hit.path)) return has(hit.path, fn) ? refTo(hit) : undefined;
  return refTo(origin(hit, fn));
}

/** A function among the exports of the CommonJS modules that are loaded. */
export function inCommonJs(fn: RemoteFunction): FunctionRef | undefined {
  const hits = best(commonJsModules().map(([key, exports]) => [pathOf(key), match(exports, fn, !key.includes('node_modules'))]));
  const hit = hits.length < 2 ? hits[0] : writer(hits, fn);
  return hit && refTo(hit);
}

function refTo({ path, place }: Hit): FunctionRef {
  return { module: moduleOf(path), ...place };
}

/** The hits of the best rank. */
function best(matches: (readonly [path: string | undefined, match: Match | undefined])[]): Hit[] {
  const rank = Math.min(...matches.map(([, found]) => found?.rank ?? Infinity));
  return matches.flatMap(([path, found]) => (path !== undefined && found?.rank === rank ? [{ path, place: found.place }] : []));
}

/** The files that a file imports statically, which have been evaluated before anything in it runs, or requires. */
function importsOf(path: string): readonly string[] {
  const known = imports.get(path);
  if (known) return known;
  const specifiers: string[] = [];
  for (const entry of lexFile(path)?.[0] ?? []) if ((entry.type === 'static' || entry.type === 'reexport-star') && !entry.typeOnly) specifiers.push(entry.specifier);
  for (const [, , specifier] of read(path)?.matchAll(REQUIRED) ?? []) if (specifier !== undefined) specifiers.push(specifier);
  const found = specifiers.flatMap((specifier) => importedFile(specifier, path) ?? []);
  imports.set(path, found);
  return found;
}

/** Follows re-exports to the module that has the function itself, so that no more is sent than it needs. */
function origin(hit: Hit, fn: RemoteFunction, seen: ReadonlySet<string> = new Set()): Hit {
  const name = hit.place.className ?? hit.place.name;
  const all = lexFile(hit.path)?.[1] ?? [];
  const named = all.filter((entry) => entry.type !== 'reexport-all' && entry.name === name);
  for (const entry of named.length > 0 ? named : all) {
    const path = entry.type === 'direct' ? undefined : importedFile(entry.from, hit.path);
    const place = path === undefined || seen.has(path) ? undefined : match(exportsOf(path), fn)?.place;
    if (path !== undefined && place) return origin({ path, place }, fn, new Set([...seen, hit.path]));
  }
  return hit;
}

/**
 * Of the CommonJS modules that export the same function, the one that has it itself: by its text, else (a compiler has
 * changed that) by its export statement, else the last one, because what is required is loaded later.
 */
function writer(hits: readonly Hit[], fn: RemoteFunction): Hit | undefined {
  return hits.find(({ path }) => has(path, fn)) ?? hits.find(exportsItsOwn) ?? hits.at(-1);
}

function has(path: string, fn: RemoteFunction): boolean {
  return read(path)?.includes(Function.prototype.toString.call(fn)) ?? false;
}

function exportsItsOwn({ path, place }: Hit): boolean {
  return lexFile(path)?.[1].some((entry) => entry.type === 'direct' && entry.name === (place.className ?? place.name)) ?? false;
}
