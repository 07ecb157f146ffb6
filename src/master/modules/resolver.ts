import { isBuiltin } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ResolverFactory } from 'oxc-resolver';
import type { Target } from '../../core/importer/records.ts';
import { LIBRARY_ID, withoutQuery } from '../../importer/ids.ts';
import { isOwnEntry } from './own-package.ts';
import { isTypeScript } from './transform.ts';

/** Look-ups for children after which what the resolver remembers of the disk is forgotten: they choose the names. */
const FORGET_AFTER = 10_000;

const COMMON = { mainFields: ['main'], mainFiles: ['index'], symlinks: true, builtinModules: false };
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

  find(parent: string, request: string): { path?: string; error?: string } {
    const directory = dirname(parent);
    const bare = !/^(?:\.{0,2}\/|#|\.{1,2}$)/.test(request);
    let found = this.#exact.sync(directory, request);
    if (found.path === undefined && bare && this.#exact !== this.#main && !/^(?:@[^/]+\/)?[^/]+\/./.test(request)) found = pick(found, this.#main.sync(directory, request));
    if (found.path === undefined && isTypeScript(parent)) found = pick(found, this.#typescript.resolveFileSync(parent, request));
    else if (found.path === undefined && !bare) found = pick(found, this.#typescript.sync(directory, request), isTypeScript);
    return { ...(found.path !== undefined && { path: found.path }), ...(found.error !== undefined && { error: found.error }) };
  }

  forget(): void {
    this.#main.clearCache();
  }
}

/** The second result if it is better than the first. */
function pick<T extends { path?: string }>(first: T, second: T, fits: (path: string) => boolean = () => true): T {
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
    if (isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
    if (specifier === '' || specifier.includes('\0')) return kind === 'require' ? null : '!ERR_INVALID_MODULE_SPECIFIER';
    if (kind === 'import') return this.#import(parent, specifier);
    return this.#target(this.#resolvers.require.find(parent, specifier === '.' || specifier === '..' ? `${specifier}/` : specifier), '');
  }

  /** As {@link Resolver.resolve}, for a name that a child has chosen. */
  resolveFor(kind: 'require' | 'import', parent: string, specifier: string): Target {
    if (++this.#lookups % FORGET_AFTER === 0) for (const resolvers of Object.values(this.#resolvers)) resolvers.forget();
    return this.resolve(kind, parent, specifier);
  }

  /** Imports are URLs: relative ones may have escapes and a query, which makes an instance of its own. */
  #import(parent: string, specifier: string): Target {
    if (specifier.startsWith("data:")) return specifier;
    if (!/^\.{0,2}\/|^file:|^\.{1,2}$/.test(specifier)) return /^\w+:/.test(specifier) ? '!ERR_UNSUPPORTED_ESM_URL_SCHEME' : this.#target(this.#resolvers.import.find(parent, specifier), '');
    let url: URL;
    let path: string;
    try {
      url = new URL(specifier, pathToFileURL(parent));
      path = fileURLToPath(withoutQuery(url.href));
    } catch {
      return '!ERR_INVALID_MODULE_SPECIFIER';
    }
    return this.#target(this.#resolvers.import.find(parent, path), url.search + url.hash);
  }

  #target({ path, error = '' }: { path?: string; error?: string }, query: string): Target {
    if (path !== undefined) return isOwnEntry(path) ? LIBRARY_ID : pathToFileURL(path).href + query;
    if (error.includes('is not exported under the conditions') || error.includes('is not defined by "exports"')) return '!ERR_PACKAGE_PATH_NOT_EXPORTED';
    if (error.includes('JSONError')) return '!ERR_INVALID_PACKAGE_CONFIG';
    if (/is not defined in|imports field/.test(error)) return '!ERR_PACKAGE_IMPORT_NOT_DEFINED';
    return null;
  }
}
