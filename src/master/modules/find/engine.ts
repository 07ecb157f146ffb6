import type { FunctionRef } from '../../../core/call/protocol.ts';
import type { RemoteFunction } from '../../../core/call/types.ts';
import { codeOnly } from '../code-only.ts';
import { lex, moduleOf, pathOf } from './files.ts';
import type { Inspect, Inspected, Script } from './inspection.ts';
import { withInspector } from './inspection.ts';
import { match } from '../../../parent/calls/places.ts';
import type { Place } from '../../../parent/calls/places.ts';

/** How many functions are looked at for the module of one: it, and what it wraps. */
const MAX_LOOKED_AT = 16;
/** A scope with more variables is that of a CommonJS module, not that of a function that wraps another. */
const MAX_CLOSED_OVER = 50;
const CLASS = /^\s*class\b[^{]*\{/;
const IS_DEFAULT = /^\s*(?:async\b\s*)?(?:function\b\s*\*?\s*)?$/;
const STATIC_MEMBER = /\bstatic\s+(?:async\b\s*)?\*?\s*([\w$]+)\s*(?:=\s*(?:async\b\s*)?(?:function\b\s*\*?\s*)?)?$/;

/** What a search by the engine has found. */
export interface Found {
  readonly ref?: FunctionRef;
  /** Of the function itself; undefined where the inspector is not permitted. */
  readonly inspected?: Inspected;
  /** Functions that the same module exports, for those who will ask for them next. */
  readonly others: ReadonlyMap<RemoteFunction, FunctionRef>;
}

/**
 * Looks for a function among the exports of the module that it was written in, or of the module of a function that it
 * wraps. The engine shows the variables of a module as soon as they have their values, also while it is evaluated.
 */
export function findInEngine(fn: RemoteFunction): Found {
  return withInspector((inspect) => search(fn, inspect)) ?? { others: new Map() };
}

function search(fn: RemoteFunction, inspect: Inspect): Found {
  const own = inspect(fn);
  const queue = [own];
  const seen = new Set<unknown>([fn]);
  for (let looked = 0; looked < queue.length && looked < MAX_LOOKED_AT; looked++) {
    const at = queue[looked];
    if (at === undefined) break;
    const module = liveModule(at);
    const place = module && (match(module.values, fn)?.place ?? (at === own ? inDefault(module.script, fn) : undefined));
    if (place) return { ref: { module: module.id, ...place }, inspected: own, others: allOf(module) };
    for (const inner of wrapped(at)) {
      if (seen.has(inner) || seen.size >= MAX_LOOKED_AT) continue;
      seen.add(inner);
      queue.push(inspect(inner));
    }
  }
  return { inspected: own, others: new Map() };
}

/** An ES module with the values of what it exports. */
interface LiveModule {
  readonly id: string;
  readonly script: Script;
  readonly values: Readonly<Record<string, unknown>>;
}

function liveModule({ script, scopes }: Inspected): LiveModule | undefined {
  const path = script?.isModule === true ? pathOf(script.url) : undefined;
  if (script === undefined || path === undefined) return undefined;
  // A module without variables has no scope.
  const variables = scopes.find(({ kind }) => kind === 'Module')?.variables ?? {};
  const values: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const entry of lex(script.source)?.[1] ?? []) if (entry.type === 'direct' && entry.localName !== undefined) values[entry.name] = variables[entry.localName];
  return { id: moduleOf(path), script, values };
}

function allOf({ id, values }: LiveModule): Map<RemoteFunction, FunctionRef> {
  const functions = Object.entries(values).filter((entry): entry is [string, RemoteFunction] => typeof entry[1] === 'function');
  return new Map(functions.map(([name, value]) => [value, { module: id, className: null, name }]));
}

/** Functions that a function was made of: what it was bound from, and what it closes over. */
function wrapped({ target, scopes }: Inspected): RemoteFunction[] {
  const closed = scopes.flatMap(({ kind, variables }) => (kind === 'Module' ? [] : [Object.values(variables)])).filter(({ length }) => length <= MAX_CLOSED_OVER);
  return [target, ...closed.flat()].filter((value): value is RemoteFunction => typeof value === 'function');
}

/** A default export that has no name in its module: nothing but its place in the text tells of it. */
function inDefault({ source, offset }: Script, fn: RemoteFunction): Place | undefined {
  const entry = lex(source)?.[1].find((candidate) => candidate.type === 'direct' && candidate.name === 'default' && candidate.localName === undefined);
  if (entry === undefined || offset < entry.end) return undefined;
  const before = codeOnly(source.slice(entry.end, offset));
  if (IS_DEFAULT.test(before)) return { className: null, name: 'default' };
  const body = CLASS.exec(before)?.[0];
  if (body === undefined || depth(before.slice(body.length)) !== 0) return undefined;
  return STATIC_MEMBER.exec(before)?.[1] === fn.name ? { className: 'default', name: fn.name } : undefined;
}

/** How many braces are open behind a text. */
function depth(code: string): number {
  return code.split('{').length - code.split('}').length;
}
