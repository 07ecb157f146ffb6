import { pathOf } from './files.ts';

/** A wrapper around call() may be a few files away from whoever imports the function. */
const MAX_CALLERS = 5;
const MAX_FRAMES = 30;
/** Our own files: src/, or dist/ in the package. */
const LIBRARY = pathOf(new URL('../../../', import.meta.url).href) ?? '';

/** What loads modules: while it is on the stack, the frame above it is the body of a module. */
const MODULE_LOADER = 'node:internal/modules/';

/** The files that are on the stack, the nearest first, without the library's own. */
export function callerFiles(): readonly string[] {
  const files = new Set<string>();
  for (const site of stack(MAX_FRAMES)) {
    const path = pathOf(site.getFileName() ?? '');
    if (path !== undefined && !path.startsWith(LIBRARY)) files.add(path);
  }
  return [...files].slice(0, MAX_CALLERS);
}

/**
 * Those of some files whose imports have been evaluated for sure: all of them, unless the body of a module is running.
 * Then only that one is known to have what it imports; a function of another may run ahead of its module, in a circle.
 */
export function settled(files: readonly string[]): readonly string[] {
  const names = stack(Infinity).map((site) => site.getFileName() ?? '');
  const loader = names.findIndex((name) => name.startsWith(MODULE_LOADER));
  const running = pathOf(names[loader - 1] ?? '');
  return loader < 0 ? files : files.filter((file) => file === running);
}

function stack(limit: number): readonly NodeJS.CallSite[] {
  const before = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace')?.value as unknown;
  const { stackTraceLimit } = Error;
  // Not assigned: Error may be frozen, and then there are no callers.
  const set = (key: string, value: unknown): boolean => Reflect.set(Error, key, value);
  set('stackTraceLimit', limit);
  set('prepareStackTrace', (_error: Error, sites: readonly NodeJS.CallSite[]) => sites);
  const { stack: sites } = new Error() as { stack?: unknown };
  set('prepareStackTrace', before);
  if (before === undefined) Reflect.deleteProperty(Error, 'prepareStackTrace');
  set('stackTraceLimit', stackTraceLimit);
  return Array.isArray(sites) ? (sites as NodeJS.CallSite[]) : [];
}
