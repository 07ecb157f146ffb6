import { pathOf } from './files.ts';

/** A wrapper around call() may be a few files away from whoever imports the function. */
const MAX_CALLERS = 5;
const MAX_FRAMES = 30;
/** Our own files: src/, or dist/ in the package. */
const LIBRARY = pathOf(new URL('../../../', import.meta.url).href) ?? '';

/** The files that are on the stack, the nearest first, without the library's own. */
export function callerFiles(): readonly string[] {
  const files = new Set<string>();
  for (const site of stack()) {
    const path = pathOf(site.getFileName() ?? '');
    if (path !== undefined && !path.startsWith(LIBRARY)) files.add(path);
  }
  return [...files].slice(0, MAX_CALLERS);
}

function stack(): readonly NodeJS.CallSite[] {
  const before = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace')?.value as unknown;
  const { stackTraceLimit } = Error;
  // Not assigned: Error may be frozen, and then there are no callers.
  const set = (key: string, value: unknown): boolean => Reflect.set(Error, key, value);
  set('stackTraceLimit', MAX_FRAMES);
  set('prepareStackTrace', (_error: Error, sites: readonly NodeJS.CallSite[]) => sites);
  const { stack: sites } = new Error() as { stack?: unknown };
  set('prepareStackTrace', before);
  set('stackTraceLimit', stackTraceLimit);
  return Array.isArray(sites) ? (sites as NodeJS.CallSite[]) : [];
}
