import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { ImporterHost } from '../core/importer/importer.ts';
import type { ModuleAnswer, ModuleRecord, Profile, RequestKind, ResourceAnswer, ResourceOperation, Target } from '../core/importer/records.ts';
import { cutCodeCaches, unpackRecords } from './batch.ts';
import { nativeAddon, notFound } from './failures.ts';
import { Children } from './children.ts';
import type { LoadedModule } from './children.ts';
import { LIBRARY_ID, LIBRARY_PARTS, idOfPath, idOfUrl, isVirtualPath, isVirtualUrl, masterPath, virtualPath, withoutQuery } from './ids.ts';
import { completeLibrary } from './library.ts';
import { ModulePolicy, namesOf } from './policy.ts';
import { Chains } from './chains.ts';
import { Services } from './services.ts';

/** The numbers of the core, which is not imported here: it would come a second time. */
const GET_MODULE = 100;
const GET_RESOURCE = 112;
/** Bytes of files beside modules that are kept; more is asked for again. */
const MAX_KEPT_RESOURCES: number = 32 * 1024 * 1024;
/** Characters of a specifier or path that a master reads. */
const MAX_NAME = 4096;

/** What a question comes to that nobody can answer. */
const NO_MASTER: Target = '!ERR_TENDRIL_DETACHED';

const library = Symbol.for('tendril.library');

/** Everything that is known of the master's modules here, and the way to learn more. */
export class Store {
  readonly host: ImporterHost;
  readonly policy: ModulePolicy;
  readonly children: Children;
  readonly services: Services;
  readonly chains: Chains;
  readonly #profile: Profile;
  readonly #records = new Map<string, ModuleRecord>();
  readonly #codeCaches = new Map<string, Uint8Array>();
  readonly #answers = new Map<string, Target>();
  /** Who waits for an answer. */
  readonly #asking = new Map<string, ((target: Target) => void)[]>();
  readonly #resources = new Map<string, ResourceAnswer>();
  #resourceBytes = 0;
  readonly #waiting = new Map<string, ((answer: ResourceAnswer) => void)[]>();

  /**
   * @param loaded - the modules of the master's that have been evaluated here
   * @param load - evaluates one, see {@link Importer.load}
   */
  constructor(host: ImporterHost, profile: Profile, loaded: () => LoadedModule[], load: (id: string) => unknown) {
    this.host = host;
    this.policy = new ModulePolicy(host.policy);
    this.#profile = profile;
    this.children = new Children(this, loaded);
    this.services = new Services(this, loaded, load);
    this.chains = new Chains(this);
  }

  /** Takes the answers and the packed records of a LOAD_MODULE. */
  takePacked(answers: readonly ModuleAnswer[], packed: Uint8Array, codeCaches: Uint8Array | undefined): void {
    const records = unpackRecords(packed);
    this.take(answers, records, codeCaches && cutCodeCaches(codeCaches, records.length));
  }

  /** Takes answers and records, with the code caches of these. What is there already stays: a module is evaluated once. */
  take(answers: readonly ModuleAnswer[], records: readonly ModuleRecord[], codeCaches?: readonly (Uint8Array | undefined)[]): void {
    records.forEach((record, index) => {
      const [id] = record;
      if (this.#records.has(id)) return;
      this.#records.set(id, record);
      // Of this very source: V8 would not notice another of the same length.
      const cache = codeCaches?.[index];
      if (cache) this.#codeCaches.set(id, cache);
    });
    // With a module of a package its files may have come into sight.
    if (records.length > 0) for (const [name, answer] of this.#resources) if (answer[2] !== null) this.#forget(name, answer);
    for (const [kind, from, specifier, target] of answers) {
      const name = key(kind, from, specifier);
      // That it was too much at once is no answer for ever.
      if (target?.startsWith('!ERR_TENDRIL_MODULE_QUOTA') !== true) this.#answers.set(name, target);
      const asking = this.#asking.get(name) ?? [];
      this.#asking.delete(name);
      for (const take of asking) take(target);
    }
  }

  /**
   * What a specifier stands for in the module `from`: an ID or `node:...`. Throws the error that Node would throw when it
   * stands for nothing. Blocks when the master has to be asked.
   */
  resolve(kind: 'require' | 'import', from: string, specifier: string): string {
    const target = this.#find(kind, from, specifier);
    if (target === null || target.startsWith('!')) throw notFound(kind, specifier, from.startsWith('file:') ? virtualPath(from) : from, target, this.host.error);
    return target;
  }

  /** Nobody is above this context any more, so that there is nobody to ask. */
  get detached(): boolean {
    return this.host.internals?.config.parentIds.length === 0;
  }

  /** Ends the waiting of those who have asked while there was somebody. */
  onDetached(): void {
    for (const take of [...this.#asking.values()].flat()) take(NO_MASTER);
    this.#asking.clear();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const [name, takes] of waiting) {
      const [, operation, ...path] = name.split(' ');
      for (const take of takes) take([operation as ResourceOperation, path.join(' '), 'ENOENT', null]);
    }
  }

  /** The record of a module. Throws when it cannot be had. Blocks when the master has to be asked. */
  record(id: string): ModuleRecord {
    let record = this.#records.get(id);
    if (record !== undefined && record[1] !== 'error' && this.policy.open) return record;
    const refusal = id === LIBRARY_ID || LIBRARY_PARTS.has(id) || !id.startsWith('file:') ? undefined : this.policy.refusal(namesOf(id));
    if (refusal !== undefined) throw notFound('import', virtualPath(id), 'the importer', refused(refusal), this.host.error);
    if (record === undefined && this.#arrived(id)) record = this.#records.get(id);
    if (record === undefined && id === LIBRARY_ID) this.#records.set(id, (record = this.#library()));
    if (record === undefined) {
      if (id.endsWith('.node')) throw nativeAddon(fileURLToPath(withoutQuery(id)), this.host.error);
      const target = this.#ask('id', '', id);
      record = this.#records.get(id);
      if (record === undefined) throw notFound('import', virtualPath(id), 'the importer', target === id ? null : target, this.host.error);
    }
    if (record[1] === 'error') throw this.#failure(record);
    return record;
  }

  /** The ID of a module, from its URL or path here; undefined when it is none of the master's. */
  idOf(module: string): string | undefined {
    return isVirtualUrl(module) ? idOfUrl(module) : isVirtualPath(module) ? idOfPath(module) : undefined;
  }

  /** The IDs of the modules that have come here. */
  get ids(): IterableIterator<string> {
    return this.#records.keys();
  }

  /** The code cache of a module, once: it is compiled once. */
  takeCodeCache(id: string): Uint8Array | undefined {
    const cache = this.#codeCaches.get(id);
    this.#codeCaches.delete(id);
    return cache;
  }

  /** How a module that is known here is run, without asking. */
  formatOf(id: string): string | undefined {
    return id === LIBRARY_ID ? 'commonjs' : this.#records.get(id)?.[1];
  }

  /** Made when it is wanted: who uses the library may ask for the current call, and following calls costs each of them a little. */
  #library(): ModuleRecord {
    const exports = completeLibrary(this.host.library(), this.host.error);
    this.children.offer(exports);
    this.services.offer();
    Object.defineProperty(globalThis, library, { value: exports });
    const source = Buffer.from("module.exports=globalThis[Symbol.for('tendril.library')]");
    return [LIBRARY_ID, 'commonjs', source, {}, {}, Object.keys(exports), null];
  }

  /** The records behind an ID, as far as they are here and not in `sent`, which notes them. */
  behind(id: string, sent: Set<string>): ModuleRecord[] {
    const records: ModuleRecord[] = [];
    const work = [id];
    for (let at = work.pop(); at !== undefined; at = work.pop()) {
      const record = sent.has(at) ? undefined : this.#records.get(at);
      if (record === undefined || at === LIBRARY_ID) continue;
      sent.add(at);
      records.push(record);
      for (const target of [...Object.values(record[3]), ...Object.values(record[4])]) if (target !== null) work.push(target);
    }
    return records;
  }

  /** Asks the master, unless the answer is known; without blocking. */
  askLater(kind: RequestKind, from: string, specifier: string, take: (target: Target) => void): void {
    const name = key(kind, from, specifier);
    const known = this.#answers.get(name);
    if (known !== undefined) {
      take(known);
      return;
    }
    const asking = this.#asking.get(name);
    if (this.detached) take(NO_MASTER);
    else if (asking) asking.push(take);
    else {
      this.#asking.set(name, [take]);
      this.host.send(GET_MODULE, [this.#profile, kind, from, specifier]);
    }
  }

  /** A file beside a module; blocks when the master has to be asked. */
  resource(operation: ResourceOperation, path: string): ResourceAnswer {
    const name = key('id', operation, path);
    let answer = this.#resources.get(name);
    if (answer) return answer;
    this.resourceLater(operation, path, (given) => {
      answer = given;
    });
    this.host.wait(() => answer !== undefined);
    return answer as unknown as ResourceAnswer;
  }

  /** As {@link Store.resource}, without blocking. */
  resourceLater(operation: ResourceOperation, path: string, take: (answer: ResourceAnswer) => void): void {
    const name = key('id', operation, path);
    const known = this.#resources.get(name);
    if (known) {
      take(known);
      return;
    }
    if (path.length > MAX_NAME) {
      take([operation, path, 'ENAMETOOLONG', null]);
      return;
    }
    if (this.detached) {
      take([operation, path, 'ENOENT', null]);
      return;
    }
    const waiting = this.#waiting.get(name);
    if (waiting) {
      waiting.push(take);
      return;
    }
    this.#waiting.set(name, [take]);
    this.host.send(GET_RESOURCE, [operation, path]);
  }

  /** Takes a LOAD_RESOURCE. */
  takeResource([operation, path, error, value]: ResourceAnswer): void {
    const name = key('id', operation, path);
    const answer: ResourceAnswer = [operation, path, error, value];
    const bytes = sizeOf(answer);
    if (error !== 'EAGAIN' && this.#resourceBytes + bytes <= MAX_KEPT_RESOURCES) {
      this.#resourceBytes += bytes;
      this.#resources.set(name, answer);
    }
    const waiting = this.#waiting.get(name) ?? [];
    this.#waiting.delete(name);
    for (const take of waiting) take(answer);
  }

  #forget(name: string, answer: ResourceAnswer): void {
    this.#resources.delete(name);
    this.#resourceBytes -= sizeOf(answer);
  }

  #find(kind: 'require' | 'import', from: string, specifier: string): Target {
    const record = this.#records.get(from);
    const map = record?.[kind === 'require' ? 3 : 4];
    const mapped = map !== undefined && Object.hasOwn(map, specifier) ? map[specifier] : undefined;
    if (mapped !== undefined) return this.#checked(mapped);
    if (specifier === 'tendril') return LIBRARY_ID;
    if (isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
    if (specifier.startsWith('node:')) return specifier;
    if (from.startsWith('data:')) return '!ERR_UNSUPPORTED_RESOLVE_REQUEST';
    const refusal = this.policy.refusalOfSpecifier(specifier);
    if (refusal !== undefined) return refused(refusal);
    // What the operating system would make of it; and no name is that long.
    const whole = kind === 'import' && /^\.{0,2}\//.test(specifier) ? (specifier.split('\0')[0] ?? '') : specifier;
    if (whole.length > MAX_NAME || whole.includes('\0')) return null;
    const asked = isVirtualUrl(whole) ? idOfUrl(whole) : isVirtualPath(whole) ? masterPath(whole) : whole;
    // A file that is named exactly is the first that Node would look at.
    const exact = exactId(kind, from, asked);
    const denied = exact === undefined || this.policy.open || LIBRARY_PARTS.has(exact) ? undefined : this.policy.denial(namesOf(exact));
    if (denied !== undefined) return refused(denied);
    if (exact !== undefined && (this.#records.has(exact) || this.#arrived(exact))) return this.#checked(exact);
    return this.#checked(this.#ask(kind, from, asked));
  }

  /** Whether a module has come, but behind the call that runs. */
  #arrived(id: string): boolean {
    this.host.wait(() => true);
    return this.#records.has(id);
  }

  #checked(target: Target): Target {
    if (target === null || this.policy.open || target === LIBRARY_ID || LIBRARY_PARTS.has(target) || !target.startsWith('file:')) return target;
    const refusal = this.policy.refusal(namesOf(target));
    return refusal === undefined ? target : refused(refusal);
  }

  /** One request for each question, ever: what the master does not have is remembered too. */
  #ask(kind: RequestKind, from: string, specifier: string): Target {
    let answer: Target | undefined;
    this.askLater(kind, from, specifier, (target) => {
      answer = target;
    });
    if (answer === undefined) this.host.wait(() => answer !== undefined);
    return answer ?? null;
  }

  #failure([id, , source]: ModuleRecord): Error {
    const [name, code, message] = JSON.parse(Buffer.from(source).toString()) as [string, string, string];
    if (code.startsWith('ERR_TENDRIL_')) return this.host.error(code, message);
    const error = name === 'SyntaxError' ? new SyntaxError(message) : new Error(message);
    // As the engine shows where a module does not parse.
    error.stack = `${virtualPath(id)}\n${error.stack ?? ''}`;
    return code === '' ? error : Object.assign(error, { code });
  }
}

/** Bytes that an answer takes, about. */
function sizeOf([, , , value]: ResourceAnswer): number {
  return value instanceof Uint8Array ? value.length : 256;
}

function refused(reason: string): Target {
  return `!ERR_TENDRIL_MODULE_REFUSED ${reason}`;
}

function key(kind: RequestKind, from: string, specifier: string): string {
  return `${kind} ${from} ${specifier}`;
}

/** The ID that a specifier has if it is the name of a file. */
function exactId(kind: 'require' | 'import', from: string, specifier: string): string | undefined {
  if (!/^\.{0,2}\//.test(specifier) && !(kind === 'import' && specifier.startsWith('file:'))) return undefined;
  // Node refuses those before it looks.
  if (kind === 'import' && /%2f|%5c/i.test(specifier)) return undefined;
  try {
    if (specifier.startsWith('file:')) return new URL(specifier).href;
    return kind === 'import' ? new URL(specifier, from).href : new URL(specifier.replace(/[%?#\\]/g, encodeURIComponent), from).href;
  } catch {
    return undefined;
  }
}
