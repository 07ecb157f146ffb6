import { rmSync } from 'node:fs';
import { compileFunction } from 'node:vm';
import type { ImporterHost, Internals } from '../core/importer/importer.ts';
import { FLOW_ID, PARENT_ID } from './ids.ts';
import type { Store } from './store.ts';

const PARENTHOOD = 118;
const DETACHING = 109;
const LISTEN = 120;
/** What the other thread needs for both. */
const ATTACH_PARTS = ['parent', 'attach'];

/** Every way to start a context: methods of `router` in a child, as they are methods of a master. */
const METHODS = ['local', 'ssh', 'sudo', 'su', 'doas', 'docker', 'podman', 'kubectl', 'lxc', 'nsenter', 'chroot', 'openssh', 'command'] as const;

/** What is for streams, loaded when it is first used. */
const FLOW = ['stream', 'eachBatch', 'eachBuffered', 'eachLatest', 'eachOrDrop', 'onDemand'] as const;

type Functions = Readonly<Record<string, (...args: unknown[]) => unknown>>;

/** A module that has been evaluated here. */
export type LoadedModule = readonly [id: string, exports: unknown];

/** What the code that makes contexts (src/parent/via/main-part.ts) needs of the importer and of the core. */
export interface MakerHost extends Internals {
  readonly library: Readonly<Record<string, unknown>>;
  /** The ID of a module, from a URL or path as code here knows it; undefined when it is none of the master's. */
  readonly idOf: (module: string) => string | undefined;
  readonly loaded: () => LoadedModule[];
  /** Sees that the other thread of this context has these parts of the library. Blocks. */
  readonly needParts: (names: readonly string[]) => void;
  /** An ID for a new context. Blocks. */
  readonly allocateId: () => number;
  /** What the other thread of this context has to say of those behind it; `take` gets what is new from now on. Blocks. */
  readonly watchContexts: (take: (news: unknown) => void) => readonly unknown[];
  readonly send: ImporterHost['send'];
}

/** What that code gives. */
export interface Maker {
  readonly make: (method: string, options?: object) => unknown;
  /** The contexts behind this one, as an observable. */
  readonly contexts: unknown;
}

/** What comes on PARENTHOOD: parts of the library that are here now; an ID, or why there is none; contexts; news of this one. */
type Answer =
  | readonly ['parts', readonly string[]]
  | readonly ['id', id: number]
  | readonly ['error', code: string, message: string]
  | readonly ['contexts']
  | readonly ['context', news: unknown]
  | readonly ['no-parts']
  | readonly ['parental']
  | readonly ['below', ids: readonly number[]]
  | readonly ['not-below', id: number]
  | readonly ['detached']
  | readonly ['refused', code: string, message: string]
  | readonly ['listening', number: number, path: string]
  | readonly ['not-listening', number: number, code: string, message: string]
  | readonly ['closed', number: number];

/** Who waits for the other thread. */
interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Lets code in this context start contexts of its own. What that takes is loaded from the master when it is first done,
 * which blocks the caller for a round trip.
 */
export class Children {
  readonly #store: Store;
  readonly #loaded: () => LoadedModule[];
  readonly #parts = new Set<string>();
  #answer: Answer | undefined;
  /** What was asked for cannot be had. */
  #refused = false;
  readonly #detaching: Waiting<void>[] = [];
  readonly #listening = new Map<number, Waiting<string>>();
  readonly #closing = new Map<number, () => void>();
  #listeners = 0;
  #maker: Maker | undefined;
  #onContext: ((news: unknown) => void) | undefined;
  /** The contexts below this one; undefined as long as nobody wants to know. */
  #below: Set<number> | undefined;
  #flow: Functions | undefined;

  constructor(store: Store, loaded: () => LoadedModule[]) {
    this.#store = store;
    this.#loaded = loaded;
    const reviver = store.host.internals?.scope.reviver;
    if (reviver) reviver.stream = (contextId, handle) => this.#streams()['receive']?.(contextId, handle);
  }

  /** Gives `router` its methods. */
  offer(library: Record<string, unknown>): void {
    const { internals } = this.#store.host;
    if (internals === undefined) return;
    const { router } = internals.scope;
    const maker = (): Maker => (this.#maker ??= this.#load(internals, library));
    for (const method of METHODS) Object.defineProperty(router, method, { value: (options?: object) => maker().make(method, options) });
    Object.defineProperty(router, 'contexts', { get: () => maker().contexts });
    Object.defineProperty(router, 'listen', { value: (options: object = {}) => this.#listen(internals.config.id, options) });
    for (const name of FLOW) library[name] = (...args: unknown[]) => this.#streams()[name]?.(...args);
    library['detach'] = () => this.#detach(internals.config.id);
  }

  /** Whether a context is known to be below this one. */
  isBelow(contextId: number): boolean {
    return this.#below?.has(contextId) ?? false;
  }

  /** Has the other thread tell which contexts are below this one. It knows of none before this context has children. */
  watchBelow(): void {
    this.#below ??= new Set();
    this.#store.host.send(PARENTHOOD, ['below'], this.#store.host.internals?.config.id);
  }

  /** Takes what came on PARENTHOOD. */
  take(answer: Answer): void {
    const { host } = this.#store;
    switch (answer[0]) {
      case 'parts':
        for (const name of answer[1]) this.#parts.add(name);
        return;
      case 'no-parts':
        this.#refused = true;
        return;
      case 'parental':
        if (this.#below) this.watchBelow();
        return;
      case 'below':
        for (const id of answer[1]) this.#below?.add(id);
        return;
      case 'not-below':
        this.#below?.delete(answer[1]);
        return;
      case 'detached':
        this.#store.onDetached();
        for (const { resolve } of this.#detaching.splice(0)) resolve();
        return;
      case 'refused':
        for (const { reject } of this.#detaching.splice(0)) reject(host.error(answer[1], answer[2]));
        return;
      case 'listening':
        this.#listening.get(answer[1])?.resolve(answer[2]);
        return;
      case 'not-listening':
        this.#listening.get(answer[1])?.reject(host.error(answer[2], answer[3]));
        return;
      case 'closed':
        this.#closing.get(answer[1])?.();
        return;
      case 'context':
        this.#onContext?.(answer[1]);
        return;
      default:
        this.#answer = answer;
    }
  }

  /** Asks the other thread to let go of the parents of this context. */
  async #detach(selfId: number): Promise<void> {
    this.#needParts(ATTACH_PARTS);
    await new Promise<void>((resolve, reject) => {
      this.#detaching.push({ resolve, reject });
      this.#store.host.send(DETACHING, null, selfId);
    });
  }

  /** Has the other thread listen, so that it is there while code in this one hangs. */
  async #listen(selfId: number, options: object): Promise<object> {
    this.#needParts(ATTACH_PARTS);
    const { host } = this.#store;
    const number = this.#listeners++;
    const path = await new Promise<string>((resolve, reject) => {
      this.#listening.set(number, { resolve, reject });
      host.send(LISTEN, ['open', number, options], selfId);
    }).finally(() => {
      this.#listening.delete(number);
    });
    // The other thread is not asked when code in this one ends the process.
    const onExit = (): void => {
      rmSync(path, { force: true });
    };
    process.once('exit', onExit);
    let closing: Promise<void> | undefined;
    const close = (): Promise<void> =>
      (closing ??= new Promise<void>((resolve) => {
        process.off('exit', onExit);
        this.#closing.set(number, resolve);
        host.send(LISTEN, ['close', number], selfId);
      }).finally(() => {
        this.#closing.delete(number);
      }));
    return { path, close, [Symbol.asyncDispose]: close };
  }

  #load(internals: Internals, library: Record<string, unknown>): Maker {
    const { host } = this.#store;
    return this.part(PARENT_ID, {
      ...internals,
      library,
      loaded: this.#loaded,
      idOf: (module) => this.#store.idOf(module),
      needParts: (names) => { this.#needParts(names); },
      allocateId: () => this.#allocateId(internals.config.id),
      watchContexts: (take) => this.#watchContexts(internals.config.id, take),
      send: (handle, value, dstId) => { host.send(handle, value, dstId); },
    } satisfies MakerHost) as Maker;
  }

  #streams(): Functions {
    return (this.#flow ??= this.part(FLOW_ID, { ...this.#store.host.internals }) as Functions);
  }

  /** Loads a part of the library. Blocks the first time. */
  part(id: string, partHost: object): unknown {
    const text = Buffer.from(this.#store.record(id)[2]).toString();
    const start = compileFunction(text, ['require', 'host'], { filename: 'tendril-part' }) as (require: NodeJS.Require, host: object) => unknown;
    return start(this.#store.host.require, partHost);
  }

  #needParts(names: readonly string[]): void {
    const missing = (): boolean => names.some((name) => !this.#parts.has(name));
    if (!missing()) return;
    const { host, detached } = this.#store;
    this.#refused = false;
    // One that was detached has what its other thread has.
    host.send(PARENTHOOD, ['parts', names], detached ? host.internals?.config.id : undefined);
    host.wait(() => !missing() || this.#refused);
    if (missing()) throw host.error('ERR_TENDRIL_DETACHED', 'what this takes is not in this context, which was detached, and nobody is above it who could send it; use it once before you detach');
  }

  #allocateId(selfId: number): number {
    const got = this.#ask(selfId, 'id');
    if (got?.[0] === 'id') return got[1];
    throw this.#store.host.error(got?.[0] === 'error' ? got[1] : 'ERR_TENDRIL_NO_IDS', got?.[0] === 'error' ? got[2] : 'there is no ID for a new context');
  }

  #watchContexts(selfId: number, take: (news: unknown) => void): readonly unknown[] {
    this.#needParts(['parent']);
    const known: unknown[] = [];
    this.#onContext = (news) => {
      known.push(news);
    };
    this.#ask(selfId, 'contexts');
    this.#onContext = take;
    return known;
  }

  /** Asks the other thread of this context. */
  #ask(selfId: number, kind: 'id' | 'contexts'): Answer | undefined {
    const { host } = this.#store;
    this.#answer = undefined;
    host.send(PARENTHOOD, [kind], selfId);
    const answer = (): Answer | undefined => this.#answer;
    host.wait(() => this.#answer !== undefined);
    return answer();
  }
}
