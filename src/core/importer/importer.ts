import { compileFunction } from 'node:vm';
import { inflateRawSync } from 'node:zlib';
import type { CallTracker } from '../call/current-call.ts';
import type { Dispatcher } from '../call/dispatch.ts';
import type { FunctionRef } from '../call/protocol.ts';
import type { ChildConfig } from '../config.ts';
import type { Context, ContextScope } from '../context.ts';
import { TendrilError } from '../errors.ts';
import { decodeValue } from '../wire/values.ts';
import type { deadError, encodeEnvelope, encodeValue } from '../wire/values.ts';
import type { Stream } from '../routing/stream.ts';
import type { Message } from '../wire/frame.ts';
import { LOAD_MODULE } from '../wire/handles.ts';
import type { ModuleBatch, ModulePolicyConfig } from './records.ts';

/** What is in the core and not in the library that user code sees. */
export interface Internals {
  readonly scope: ContextScope;
  readonly config: ChildConfig;
  readonly dispatcher: Dispatcher;
  readonly tracker: CallTracker;
  /** Finds the function of a call, as for a call from outside. */
  readonly resolve: ImporterSlot['resolve'];
  readonly Stream: typeof Stream;
  readonly Context: typeof Context;
  readonly encodeEnvelope: typeof encodeEnvelope;
  readonly encodeValue: typeof encodeValue;
  readonly decodeValue: typeof decodeValue;
  readonly deadError: typeof deadError;
}

/** What the importer needs of the context that it runs in. */
export interface ImporterHost {
  readonly require: NodeJS.Require;
  readonly policy: ModulePolicyConfig;
  /** Sends a value on a handle, to the parent unless the destination is given. */
  send(handle: number, value: unknown, dstId?: number): void;
  /**
   * Blocks this thread until `done` is true; messages for the importer are taken meanwhile. What has come already is taken
   * before anything else, so that a `done` which is true at once is a look at what there is. Throws when it never will be.
   */
  wait(done: () => boolean): void;
  /** What `tendril` is here. */
  readonly library: () => Record<string, unknown>;
  /** Makes an error of the library's. */
  readonly error: (code: string, message: string) => Error;
  /** For what makes contexts from here; in the main thread of a context only. */
  readonly internals?: Internals;
}

/** The importer: hooks into Node's loaders. The master sends it ahead of the first module (src/importer). */
export interface Importer {
  /** Takes what came for it: the handle, LOAD_MODULE or another, and the value. */
  take(handle: number, value: unknown): void;
  /** The exports of a module, evaluated on first use; a promise of them where evaluation is asynchronous. */
  load(id: string): unknown;
}

type ImportFunction = (...args: unknown[]) => unknown;

/**
 * Where modules come in and functions are found. What runs modules is not part of the core: most contexts of a large
 * tree call nothing but builtins, and what the importer needs differs between versions of Node.
 */
export class ImporterSlot {
  readonly #host: ImporterHost;
  #importer: Importer | undefined;
  readonly #functions = new Map<string, Map<string, ImportFunction>>();

  constructor(host: ImporterHost) {
    this.#host = host;
  }

  /** Takes a message for the importer: the importer itself, or what it is to have. */
  receive({ handle, data, tail }: Message): void {
    const value = decodeValue(data, tail);
    const [, answers, packed, cachedData] = value as ModuleBatch;
    if (handle !== LOAD_MODULE || answers !== null) this.#importer?.take(handle, value);
    else if (this.#importer === undefined) {
      const start = compileFunction(String(inflateRawSync(packed)), ['require', 'host'], { filename: 'tendril-importer', cachedData }) as (require: NodeJS.Require, host: ImporterHost) => Importer;
      this.#importer = start(this.#host.require, this.#host);
    }
  }

  /** The function that a call names. */
  resolve(ref: FunctionRef): ImportFunction | PromiseLike<ImportFunction> {
    // Two maps, because joining the names for one key would cost every call.
    let functions = this.#functions.get(ref.module);
    if (functions === undefined) this.#functions.set(ref.module, (functions = new Map<string, ImportFunction>()));
    const key = ref.className === null ? ref.name : `${ref.className}.${ref.name}`;
    const known = functions.get(key);
    if (known !== undefined) return known;
    const exports = this.#load(ref.module);
    const keep = (loaded: unknown): ImportFunction => {
      const found = find(loaded, ref);
      functions.set(key, found);
      return found;
    };
    return isPromise(exports) ? exports.then(keep) : keep(exports);
  }

  #load(module: string): unknown {
    // The importer comes ahead of the first call that needs it; without one, a call finds no function.
    return module.startsWith('node:') ? this.#host.require(module) : this.#importer?.load(module);
  }
}

/** By the brand: a module may export a function `then`, which must not be taken for a promise's. */
function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise;
}

function find(loaded: unknown, ref: FunctionRef): ImportFunction {
  const holder = ref.className === null ? loaded : member(loaded, ref.className);
  const found = member(holder, ref.name);
  if (typeof found !== 'function') throw new TendrilError('ERR_TENDRIL_NO_FUNCTION', `${ref.module} has no function ${ref.className === null ? '' : `${ref.className}.`}${ref.name}; export it`);
  // Methods see their class as `this`, functions of builtin modules their module.
  return (found as ImportFunction).bind(holder);
}

function member(holder: unknown, name: string): unknown {
  if ((typeof holder !== 'object' && typeof holder !== 'function') || holder === null) return undefined;
  // module.exports = fn is the default export for those who import it.
  if (name === 'default' && !('default' in holder)) return holder;
  return (holder as Record<string, unknown>)[name];
}
