import type { ModuleLink } from '../core/importer/records.ts';
import type { Binding } from './namespaces.ts';

/** What a rendered module does in two steps: make its functions and bindings, then run. */
export type Steps = Iterator<void> | AsyncIterator<void>;

/** Something that is imported. */
export interface Dependency {
  /** An ES module of ours; undefined for everything else. */
  readonly module: EsModule | undefined;
  readonly namespace: object;
  readonly names: ReadonlySet<string> | undefined;
  /** Evaluates what is not an ES module; `again` says that a failure of before is thrown once more. */
  readonly run: (again: boolean) => void;
}

/** An ES module of ours, and how far it is. */
export interface EsModule {
  readonly id: string;
  readonly link: ModuleLink;
  readonly namespace: object;
  readonly dependencies: Dependency[];
  readonly local: Map<string, Binding>;
  steps: Steps | undefined;
  state: 'linking' | 'linked' | 'evaluating' | 'waiting' | 'done' | 'failed';
  error: unknown;
  /** While it is evaluated: the first module of the circle that it is in, as an index. */
  circle: number;
  /** The first module of the circle, once that is closed: what becomes of it becomes of all. */
  root: EsModule | undefined;
  /** Settles when the first step of a module that awaits is done. */
  ready: Promise<unknown> | undefined;
  /** Settles when its asynchronous evaluation has. */
  pending: Promise<void> | undefined;
}

/** A name that two `export *` give differently, which is no export. */
export const AMBIGUOUS: unique symbol = Symbol('ambiguous');
/** Where an export comes from; undefined when there is none. */
export type Resolution = { readonly owner: object; readonly name: string; readonly binding: Binding } | typeof AMBIGUOUS | undefined;

/** Whether something that is imported has an export of this name. */
export function provides(dependency: Dependency | undefined, name: string): boolean {
  if (dependency === undefined) return false;
  const { module, names } = dependency;
  if (module === undefined) return names === undefined || names.has(name);
  const resolution = resolveExport(module, name, new Set());
  return resolution !== undefined && resolution !== AMBIGUOUS;
}

/** ECMA-262, GetExportedNames. */
export function exportNames(module: EsModule, seen: Set<EsModule>): Set<string> {
  if (seen.has(module)) return new Set();
  seen.add(module);
  const names = new Set(module.local.keys());
  for (const index of module.link.stars) {
    const dependency = module.dependencies[index];
    const others = dependency?.module ? exportNames(dependency.module, seen) : (dependency?.names ?? new Set(Object.keys(dependency?.namespace ?? {})));
    for (const name of others) if (name !== 'default') names.add(name);
  }
  return names;
}

/** ECMA-262, ResolveExport. */
export function resolveExport(module: EsModule, name: string, seen: Set<string>): Resolution {
  const step = `${module.id} ${name}`;
  if (seen.has(step)) return undefined;
  seen.add(step);
  const reexport = module.link.reexports.find(([exported]) => exported === name);
  if (reexport) {
    const [, index, imported] = reexport;
    const dependency = module.dependencies[index];
    const owner = dependency?.namespace ?? module;
    if (imported === null) return { owner, name: '*', binding: () => owner };
    return from(dependency, imported, seen);
  }
  const binding = module.local.get(name);
  if (binding) return { owner: module.namespace, name, binding };
  if (name === 'default') return undefined;
  let found: Resolution;
  for (const index of module.link.stars) {
    const resolution = from(module.dependencies[index], name, seen);
    if (resolution === AMBIGUOUS) return AMBIGUOUS;
    if (resolution === undefined) continue;
    if (found === undefined) found = resolution;
    else if (found !== AMBIGUOUS && (found.owner !== resolution.owner || found.name !== resolution.name)) return AMBIGUOUS;
  }
  return found;
}

function from(dependency: Dependency | undefined, name: string, seen: Set<string>): Resolution {
  if (dependency === undefined) return undefined;
  if (dependency.module) return resolveExport(dependency.module, name, seen);
  const { namespace: owner, names } = dependency;
  if (names && !names.has(name)) return undefined;
  return { owner, name, binding: () => (owner as Record<string, unknown>)[name] };
}
