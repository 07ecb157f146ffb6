import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { isAbsolute } from 'node:path';
import { inspect } from 'node:util';
import type { ModuleOpener } from '../../core/context.ts';
import { UsageError } from '../../core/errors.ts';
import { LIBRARY_PARTS } from '../../importer/ids.ts';
import { remoteModule } from '../../parent/calls/remote-module.ts';
import { moduleOf, pathOf, sourceFile } from './find/files.ts';

/** What `module()` gives in this process. */
export const openModule: ModuleOpener = (module, call) => remoteModule(moduleId(module), call);

/** A module as contexts name it: the URL of a file as it really is, or `node:` and a name. */
function moduleId(module: unknown): string {
  // A URL of another realm is none of ours by its class.
  const name = typeof module === 'string' ? module : String((module as { href?: unknown } | null | undefined)?.href);
  if ((name.startsWith('node:') && isBuiltin(name)) || LIBRARY_PARTS.has(name)) return name;
  // A question mark in the name of a file that is there is no query.
  const path = isAbsolute(name) && existsSync(name) ? name : pathOf(name);
  if (path !== undefined) return moduleOf(sourceFile(path) ?? path);
  throw new UsageError('ERR_TENDRIL_NOT_CALLABLE', `module() takes the URL or the absolute path of a file, or a builtin module such as node:os, got ${inspect(module)}; ${advice(module)}`);
}

function advice(module: unknown): string {
  if (typeof module !== 'string' || /^[a-z]+:/i.test(module)) return 'the module must be a file at the master';
  if (isBuiltin(module)) return `write 'node:${module}'`;
  if (/^\.{0,2}\//.test(module) || /\.[cm]?[jt]sx?$/.test(module)) return `write new URL('${module.startsWith('.') ? module : `./${module}`}', import.meta.url)`;
  return `write new URL(import.meta.resolve('${module}'))`;
}
