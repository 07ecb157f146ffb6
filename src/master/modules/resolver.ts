import { realpathSync, statSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ResolverFactory } from 'oxc-resolver';
import type { ResolveResult } from 'oxc-resolver';
import type { Target } from '../../core/importer/records.ts';
import { LIBRARY_ID, withoutQuery } from '../../importer/ids.ts';
import { isOwnEntry } from './own-package.ts';
import { isTypeScript } from './transform.ts';

/** Look-ups for children after which what the resolver remembers of the disk is forgotten: they choose the names. */
const FORGET_AFTER = 10_000;

const COMMON = { mainFields: ['main'], mainFiles: ['index'], symlinks: true, builtinModules: true };
const EXTENSIONS = ['.js', '.json', '.node'];
const TYPESCRIPT = ['.ts', '.tsx', '.mts', '.cts', ...EXTENSIONS, '.mjs', '.cjs'];
/** TypeScript lets a specifier name the file that the compiler would write. */
const WRITTEN_AS = { '.js': ['.js', '.ts', '.tsx'], '.jsx': ['.jsx', '.tsx'], '.mjs': ['.mjs', '.mts'], '.cjs': ['.cjs', '.cts'] };

function conditions(kind: 'require' | 'import'): string[] {
  // All versions that children may have (Node 20.19 on) know module-sync.
  return ['node', kind, 'node-addons', 'module-sync'];
}

/** One resolver as Node's loader for `kind` works, and one as the tools for TypeScript extend it. */
class Resolvers {
  readonly #exact: ResolverFactory;
  /** For `main` without an extension, which `import` of a package by its name accepts. */
  readonly #main: ResolverFactory;
  readonly #typescript: ResolverFactory;

  constructor(kind: 'require' | 'import') {
    const std = { ...COMMON, conditionNames: conditions(kind), extensions: EXTENSIONS };
    this.#main = new ResolverFactory(std);
    this.#exact = kind === 'require' ? this.#main : this.#main.cloneWithOptions({ ...std, extensions: [], fullySpecified: true });
    this.#typescript = this.#main.cloneWithOptions({ ...std, extensions: TYPESCRIPT, extensionAlias: WRITTEN_AS, tsconfig: 'auto' });
  }

  find(parent: string, request: string): ResolveResult {
    const directory = dirname(parent);
    const relative = /^(?:\.{0,2}\/|\.{1,2}$)/.test(request);
    let found = this.#exact.sync(directory, request);
    if (found.path !== undefined || found.builtin) return found;
    // A package by its name, also behind a name of `imports`.
    if (this.#exact !== this.#main && /^(?:#|@[^/]+\/[^/]+$|[^@./][^/]*$)/.test(request)) found = pick(found, this.#main.sync(directory, request));
    if (found.path === undefined && isTypeScript(parent)) found = pick(found, this.#typescript.resolveFileSync(parent, request));
    else if (found.path === undefined && relative) found = pick(found, this.#typescript.sync(directory, request), isTypeScript);
    return found;
  }

  forget(): void {
    this.#main.clearCache();
  }
}

/** The second result if it is better than the first. */
function pick(first: ResolveResult, second: ResolveResult, fits: (path: string) => boolean = () => true): ResolveResult {
  return second.path !== undefined && fits(second.path) ? second : first;
}

/** Finds what a specifier stands for at the master, with the conditions that hold in a child. */
export class Resolver {
  readonly #resolvers = { require: new Resolvers('require'), import: new Resolvers('import') };
  #lookups = 0;

  /**
   * @param parent - path of the module that asks
   * @returns the ID of a module, `node:...`, null for nothing, or `!` and the code of Node's error
   */
  resolve(kind: 'require' | 'import', parent: string, specifier: string): Target {
    if (specifier === 'tendril') return LIBRARY_ID;
    // What this Node does not have, the child's may; else its loader says so.
    if (specifier.startsWith('node:')) return specifier;
    if (isBuiltin(specifier)) return `node:${specifier}`;
    if (parent.startsWith('data:') && !specifier.startsWith('data:')) return '!ERR_UNSUPPORTED_RESOLVE_REQUEST';
    if (specifier === '') return null;
    if (kind === 'import') return this.#import(parent, specifier);
    return targetOf(this.#resolvers.require.find(parent, specifier === '.' || specifier === '..' ? `${specifier}/` : specifier), '');
  }

  /** As {@link Resolver.resolve}, for a name that a child has chosen. */
  resolveFor(kind: 'require' | 'import', parent: string, specifier: string): Target {
    if (++this.#lookups % FORGET_AFTER === 0) for (const resolvers of Object.values(this.#resolvers)) resolvers.forget();
    return this.resolve(kind, parent, specifier);
  }

  /** What is wrong with a specifier as it is written, whatever the disk has; null when nothing is. */
  faultOf(kind: 'require' | 'import', parent: string, specifier: string): Target {
    if (kind === 'require' || specifier === '' || isBuiltin(specifier) || /^(?:node|data):|^tendril$/.test(specifier)) return null;
    if (!isPath(specifier)) {
      // ECMAScript modules of Node's documentation, "PACKAGE_RESOLVE".
      if (/^\w+:/.test(specifier)) return '!ERR_UNSUPPORTED_ESM_URL_SCHEME';
      const name = /^(?:@[^/]*\/[^/]*|[^/]*)/.exec(specifier)?.[0] ?? '';
      const valid = specifier.startsWith('#') ? !/^#(?:\/|$)/.test(specifier) : !/^\.|[\\%]/.test(name) && !/^@[^/]*$/.test(specifier);
      return valid ? null : '!ERR_INVALID_MODULE_SPECIFIER';
    }
    try {
      const url = urlOf(parent, specifier);
      if (/%2f|%5c/i.test(url.pathname)) return '!ERR_INVALID_MODULE_SPECIFIER';
      return fileURLToPath(withoutQuery(url.href)) === '/' ? '!ERR_UNSUPPORTED_DIR_IMPORT' : null;
    } catch (error) {
      const { code } = error as { code?: unknown };
      return `!${typeof code === 'string' ? code : ''}`;
    }
  }

  /** Imports are URLs: relative ones may have escapes and a query, which makes an instance of its own. */
  #import(parent: string, specifier: string): Target {
    if (specifier.startsWith('data:')) return specifier;
    const fault = this.faultOf('import', parent, specifier);
    if (fault !== null) return fault;
    if (!isPath(specifier)) return this.#package(parent, specifier);
    const url = urlOf(parent, specifier);
    const path = fileURLToPath(withoutQuery(url.href));
    const kind = kindOf(path);
    if (kind === 'directory') return '!ERR_UNSUPPORTED_DIR_IMPORT';
    // The resolver would take a question mark in a name for a query.
    const found = kind === 'file' ? { path: realpathSync(path) } : this.#resolvers.import.find(parent, path);
    return targetOf(found, url.search + url.hash);
  }

  #package(parent: string, specifier: string): Target {
    const found = this.#resolvers.import.find(parent, specifier);
    // A URL is no target for a name of `imports`.
    if (specifier.startsWith('#') && found.builtin?.isRuntimeModule === true) return '!ERR_INVALID_PACKAGE_TARGET';
    return targetOf(found, '') ?? (isDirectoryInPackage(parent, specifier) ? '!ERR_UNSUPPORTED_DIR_IMPORT' : null);
  }
}

/** Whether an import names a file, and not a package. */
function isPath(specifier: string): boolean {
  return /^\.{0,2}\/|^file:|^\.{1,2}$/.test(specifier);
}

function urlOf(parent: string, specifier: string): URL {
  return specifier.startsWith('file:') ? new URL(specifier) : new URL(specifier, pathToFileURL(parent));
}

/** Whether a name with a path behind it leads to a directory. */
function isDirectoryInPackage(parent: string, specifier: string): boolean {
  if (!/^(?:@[^/]+\/)?[^@/]+\/./.test(specifier)) return false;
  for (let directory = dirname(parent); ; directory = dirname(directory)) {
    if (kindOf(join(directory, 'node_modules', specifier)) === 'directory') return true;
    if (directory === dirname(directory)) return false;
  }
}

function kindOf(path: string): 'file' | 'directory' | undefined {
  try {
    const stats = statSync(path, { throwIfNoEntry: false });
    return stats?.isDirectory() === true ? 'directory' : stats?.isFile() === true ? 'file' : undefined;
  } catch {
    // A circle of links, for instance.
    return undefined;
  }
}

/** What the resolver says, by the codes that Node has for it. */
function targetOf({ path, error = '', builtin }: ResolveResult, query: string): Target {
  if (builtin) return builtin.resolved;
  if (path !== undefined) return isOwnEntry(path) ? LIBRARY_ID : pathToFileURL(path).href + query;
  if (error.includes('is not exported under the conditions') || error.includes('is not defined by "exports"')) return '!ERR_PACKAGE_PATH_NOT_EXPORTED';
  if (error.includes('JSONError')) return '!ERR_INVALID_PACKAGE_CONFIG';
  if (/^Invalid "(?:exports|imports)" target/.test(error)) return '!ERR_INVALID_PACKAGE_TARGET';
  if (error.startsWith('Invalid module "')) return '!ERR_INVALID_MODULE_SPECIFIER';
  if (error.startsWith('Package import specifier')) return '!ERR_PACKAGE_IMPORT_NOT_DEFINED';
  return null;
}
