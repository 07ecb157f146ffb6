import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compileFunction } from 'node:vm';
import { parse } from 'es-module-lexer';
import type { ModuleRecord } from '../../core/importer/module-store.ts';
import { TendrilError } from '../../core/errors.ts';
import { isTypeScript, toCommonJs } from './transform.ts';

const EXTENSIONS = ['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs', '.json'];
/** TypeScript lets a specifier name the file that the compiler would write. */
const COMPILED: Readonly<Record<string, readonly string[]>> = { '.js': ['.ts', '.tsx'], '.mjs': ['.mts'], '.cjs': ['.cts'] };
const REQUIRES = /\brequire\(\s*(['"])([^'"\\\n]+)\1\s*\)/g;

/**
 * The modules of the master as children get them. First, simple importer: everything becomes CommonJS, and the whole
 * closure of literal imports travels ahead of the call.
 */
export class ModuleGraph {
  readonly #records = new Map<string, ModuleRecord>();

  /** The module `id` and everything that it needs, dependencies first, without those that `has` knows. */
  closure(id: string, has: ReadonlySet<string>): ModuleRecord[] {
    const order: ModuleRecord[] = [];
    const seen = new Set(has);
    const visit = (at: string): void => {
      if (seen.has(at) || at.startsWith('node:') || at === 'tendril') return;
      seen.add(at);
      const record = this.#record(at);
      for (const target of Object.values(record[2])) if (target !== null) visit(target);
      order.push(record);
    };
    visit(id);
    return order;
  }

  #record(id: string): ModuleRecord {
    const known = this.#records.get(id);
    if (known) return known;
    const path = fileURLToPath(id);
    if (path.endsWith('.node')) throw new TendrilError('ERR_TENDRIL_NATIVE_ADDON', `${path} is a native addon, which cannot be sent to another machine; import it inside a try block, or leave it out of the module`);
    let source: string;
    try {
      source = readFileSync(path, 'utf8');
    } catch (error) {
      throw new TendrilError('ERR_TENDRIL_MODULE_NOT_FOUND', `cannot read the module ${path}`, { cause: error });
    }
    const code = toCommonJs.module(path, source, isEsm(path, source));
    refuseTopLevelAwait(path, code);
    const requires: Record<string, string | null> = {};
    if (!path.endsWith('.json')) for (const [, , specifier] of code.matchAll(REQUIRES)) if (specifier !== undefined) requires[specifier] ??= resolveFrom(path, specifier);
    const record: ModuleRecord = [id, code, requires];
    this.#records.set(id, record);
    return record;
  }
}

/** What a function body does not take is found here, where there is a path to name, and not in the child. */
function refuseTopLevelAwait(path: string, code: string): void {
  if (path.endsWith('.json') || !/\bawait\b/.test(code)) return;
  try {
    compileFunction(code);
  } catch (error) {
    if (!(error as Error).message.includes('await') && !/missing \) after argument list|Unexpected (?:identifier|reserved word)/.test((error as Error).message)) return;
    throw new TendrilError('ERR_TENDRIL_TOP_LEVEL_AWAIT', `${path} seems to use await outside of a function, which cannot run in a child (${(error as Error).message}). If it is your main script, put the functions that run in children into a module of their own`, { cause: error });
  }
}

function resolveFrom(parent: string, specifier: string): string | null {
  if (isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
  if (specifier === 'tendril') return specifier;
  const local = /^\.{0,2}\//.test(specifier) ? localFile(resolve(dirname(parent), specifier)) : specifier.startsWith('file:') ? localFile(fileURLToPath(specifier)) : undefined;
  if (local !== undefined) return pathToFileURL(realpathSync(local)).href;
  try {
    const path = createRequire(parent).resolve(specifier);
    return path.endsWith('.node') ? null : pathToFileURL(path).href;
  } catch {
    return null;
  }
}

function localFile(path: string): string | undefined {
  const dot = path.lastIndexOf('.');
  const extension = dot > path.lastIndexOf('/') ? path.slice(dot) : '';
  const sources = (COMPILED[extension] ?? []).map((other) => path.slice(0, dot) + other);
  const candidates = [...(EXTENSIONS.includes(extension) ? [path] : []), ...sources, ...EXTENSIONS.map((other) => path + other), ...EXTENSIONS.map((other) => join(path, `index${other}`))];
  return candidates.find((candidate) => existsSync(candidate));
}

/** Whether a file is an ES module, by its extension, its package, or, where both are silent, its syntax. */
function isEsm(path: string, source: string): boolean {
  if (/\.m[jt]s$/.test(path)) return true;
  if (/\.c[jt]s$/.test(path)) return false;
  if (packageType(dirname(path)) === 'module') return true;
  return parse(isTypeScript(path) ? toCommonJs.stripTypes(path, source) : source)[3];
}

const types = new Map<string, string | undefined>();

function packageType(directory: string): string | undefined {
  if (types.has(directory)) return types.get(directory);
  let type: string | undefined;
  const file = join(directory, 'package.json');
  if (existsSync(file)) {
    try {
      type = (JSON.parse(readFileSync(file, 'utf8')) as { type?: string }).type ?? 'commonjs';
    } catch {
      type = undefined;
    }
  } else if (dirname(directory) !== directory) type = packageType(dirname(directory));
  types.set(directory, type);
  return type;
}
