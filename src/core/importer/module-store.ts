import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compileFunction } from 'node:vm';
import { inflateRawSync } from 'node:zlib';
import { DecodeError, TendrilError } from '../errors.ts';
import type { FunctionRef } from '../call/protocol.ts';
import { decodeValue } from '../wire/values.ts';

/** Where modules of the master seem to lie; nothing real can be below /dev/null. */
const VIRTUAL_ROOT = '/dev/null/tendril';
/** Bytes that one LOAD_MODULE may inflate to. */
const MAX_BATCH_BYTES: number = 256 * 1024 * 1024;

/**
 * One module as the master sends it: ID (its URL there), CommonJS source with the lines of the original, and for each
 * specifier that it names the ID it stands for, or null where the master could not resolve it.
 */
export type ModuleRecord = readonly [id: string, source: string, requires: Readonly<Record<string, string | null>>];

interface LoadedModule {
  exports: unknown;
  readonly id: string;
  readonly filename: string;
  loaded: boolean;
}

/** No module of this name came with the call, and none is on the other side. */
export class ModuleNotFoundError extends TendrilError {
  static override readonly brand: string = 'ModuleNotFoundError';
  constructor(specifier: string, from: string) {
    super('ERR_TENDRIL_MODULE_NOT_FOUND', `cannot find '${specifier}', required by ${from}, among the modules that the master sent; import it by a literal name, so that the master sees it`);
  }
}

/** The child's modules: records from the master, evaluated once each. Nothing is read from the child's disk. */
export class ModuleStore {
  readonly #records = new Map<string, ModuleRecord>();
  readonly #loaded = new Map<string, LoadedModule>();
  readonly #functions = new Map<string, Map<string, (...args: unknown[]) => unknown>>();
  readonly #library: () => unknown;
  readonly #require: (id: string) => unknown;
  readonly #builtins: NodeJS.Require;

  /** @param library - gives what `tendril` is in this context */
  constructor(library: () => unknown) {
    this.#library = library;
    this.#builtins = createRequire(`${VIRTUAL_ROOT}/`);
    this.#require = this.#builtins;
  }

  /** Takes the payload of a LOAD_MODULE. */
  receive(data: Uint8Array, tail?: readonly Uint8Array[]): void {
    const packed = decodeValue(data, tail);
    if (!(packed instanceof Uint8Array)) throw new DecodeError('LOAD_MODULE is not bytes');
    const records = decodeValue(inflateRawSync(packed, { maxOutputLength: MAX_BATCH_BYTES }));
    for (const record of records as ModuleRecord[]) this.#records.set(record[0], record);
  }

  /** The function that a call names. */
  resolve(ref: FunctionRef): (...args: unknown[]) => unknown {
    // Two maps, because joining the names for one key would cost every call.
    let functions = this.#functions.get(ref.module);
    if (functions === undefined) {
      functions = new Map();
      this.#functions.set(ref.module, functions);
    }
    const key = ref.className === null ? ref.name : `${ref.className}.${ref.name}`;
    let found = functions.get(key);
    if (found === undefined) functions.set(key, (found = this.#find(ref)));
    return found;
  }

  #find(ref: FunctionRef): (...args: unknown[]) => unknown {
    const exported = ref.module.startsWith('node:') ? this.#require(ref.module) : this.load(ref.module, 'a call');
    const holder = ref.className === null ? exported : member(exported, ref.className);
    const found = member(holder, ref.name);
    if (typeof found !== 'function') throw new TendrilError('ERR_TENDRIL_NO_FUNCTION', `${ref.module} has no function ${ref.className === null ? '' : `${ref.className}.`}${ref.name}; export it`);
    // Methods see their class as `this`, functions of builtin modules their module.
    return (found as (...args: unknown[]) => unknown).bind(holder);
  }

  /** The exports of a module; evaluates it on first use. */
  load(id: string, from: string): unknown {
    if (id.startsWith('node:')) return this.#require(id);
    if (id === 'tendril') return this.#library();
    const loaded = this.#loaded.get(id);
    if (loaded) return loaded.exports;
    const record = this.#records.get(id);
    if (record === undefined) throw new ModuleNotFoundError(id, from);
    const module: LoadedModule = { exports: {}, id, filename: VIRTUAL_ROOT + fileURLToPath(id), loaded: false };
    // Before evaluation: modules that require each other see what is there so far.
    this.#loaded.set(id, module);
    try {
      this.#evaluate(module, record);
    } catch (error) {
      this.#loaded.delete(id);
      throw error;
    }
    return module.exports;
  }

  #evaluate(module: LoadedModule, [id, source, requires]: ModuleRecord): void {
    const { filename } = module;
    if (id.endsWith('.json')) {
      module.exports = JSON.parse(source) as unknown;
      return;
    }
    const require = (specifier: string): unknown => {
      const target = requires[specifier];
      if (target != null) return this.load(target, id);
      if (target === undefined && this.#isBuiltin(specifier)) return this.#require(specifier);
      throw new ModuleNotFoundError(specifier, id);
    };
    const meta = { url: pathToFileURL(filename).href, filename, dirname: dirname(filename) };
    const run = compileFunction(source, ['exports', 'require', 'module', '__filename', '__dirname', '__tendrilMeta'], { filename }) as (...args: unknown[]) => void;
    run.call(module.exports, module.exports, require, module, filename, meta.dirname, meta);
    module.loaded = true;
  }

  #isBuiltin(specifier: string): boolean {
    return this.#builtins.resolve.paths(specifier) === null;
  }
}

function member(holder: unknown, name: string): unknown {
  if ((typeof holder !== 'object' && typeof holder !== 'function') || holder === null) return undefined;
  // module.exports = fn is the default export for those who import it.
  if (name === 'default' && !('default' in holder)) return holder;
  return (holder as Record<string, unknown>)[name];
}
