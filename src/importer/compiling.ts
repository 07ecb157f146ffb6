import { compileFunction } from 'node:vm';
import type { CompileFunctionOptions } from 'node:vm';
import type { ModuleRecord } from '../core/importer/records.ts';
import { virtualPath, virtualUrl } from './ids.ts';

/** What Node calls a CommonJS module with. */
export const COMMONJS_PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname'] as const;

/** A module as a function: called with what its format says, it runs. */
export type ModuleFunction = (...args: unknown[]) => unknown;

/** What a module is compiled as. */
interface Form {
  readonly source: string;
  readonly parameters: readonly string[];
  readonly filename: string;
}

/**
 * What the importer compiles a module as; undefined for what it does not compile. The master compiles the same for a code
 * cache: V8 looks at the length of the source and at nothing else, so both must be made here.
 */
function formOf([id, format, bytes, , , , link]: ModuleRecord): Form | undefined {
  if (format === 'commonjs') {
    const source = textOf(bytes);
    // What the master has put in the place of `import()`.
    return { source, parameters: source.includes('$tndrl') ? [...COMMONJS_PARAMETERS, '$tndrl'] : COMMONJS_PARAMETERS, filename: virtualPath(id) };
  }
  if (format !== 'module' || link === null) return undefined;
  return { source: textOf(bytes), parameters: ['$tndrl_exports', '$tndrl_meta', '$tndrl', ...link.imports.map((_import, index) => `$tndrl_${String(index)}`)], filename: virtualUrl(id) };
}

/**
 * Compiles a CommonJS module or a rendered ES module. A code cache that V8 does not like is as good as none.
 *
 * @param options - who serves `import()`, where it has not been rendered
 */
export function compileModule(record: ModuleRecord, cachedData: Uint8Array | undefined, options: Pick<CompileFunctionOptions, 'importModuleDynamically'> = {}): ModuleFunction {
  const form = formOf(record);
  if (form === undefined) throw new TypeError(`${record[0]} is not run as a function`);
  return compileFunction(form.source, form.parameters, { ...options, filename: form.filename, cachedData: cachedData as Buffer | undefined }) as ModuleFunction;
}

/** V8's code cache of a module, made without running it; undefined for what has none, or does not compile. */
export function codeCacheOf(record: ModuleRecord): Uint8Array | undefined {
  const form = formOf(record);
  if (form === undefined) return undefined;
  try {
    return (compileFunction(form.source, form.parameters, { filename: form.filename, produceCachedData: true }) as { readonly cachedData?: Uint8Array }).cachedData;
  } catch {
    // The child shows what is wrong with it.
    return undefined;
  }
}

/** The text of a source, without copying its bytes first. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
