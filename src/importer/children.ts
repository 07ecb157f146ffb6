import { compileFunction } from 'node:vm';
import type { ImporterHost, Internals } from '../core/importer/importer.ts';
import { PARENT_ID } from './ids.ts';
import type { Store } from './store.ts';

const PARENTHOOD = 118;

/** Every way to start a context: methods of `router` in a child, as they are methods of a master. */
const METHODS = ['local', 'ssh', 'sudo', 'su', 'doas', 'docker', 'podman', 'kubectl', 'lxc', 'nsenter', 'chroot', 'openssh', 'command'] as const;

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
  readonly send: ImporterHost['send'];
}

type Make = (method: string, options: object | undefined) => unknown;

/** What comes on PARENTHOOD: parts of the library that are here now; an ID, or why there is none. */
type Answer = readonly ['parts', readonly string[]] | readonly ['id', id: number] | readonly ['error', code: string, message: string];

/**
 * Lets code in this context start contexts of its own. What that takes is loaded from the master when it is first done,
 * which blocks the caller for a round trip.
 */
export class Children {
  readonly #store: Store;
  readonly #loaded: () => LoadedModule[];
  readonly #parts = new Set<string>();
  #answer: Answer | undefined;
  #make: Make | undefined;

  constructor(store: Store, loaded: () => LoadedModule[]) {
    this.#store = store;
    this.#loaded = loaded;
  }

  /** Gives `router` its methods. */
  offer(library: Record<string, unknown>): void {
    const { internals } = this.#store.host;
    if (internals === undefined) return;
    for (const method of METHODS) Object.defineProperty(internals.scope.router, method, { value: (options?: object) => (this.#make ??= this.#load(internals, library))(method, options) });
  }

  /** Takes what came on PARENTHOOD. */
  take(answer: Answer): void {
    if (answer[0] === 'parts') for (const name of answer[1]) this.#parts.add(name);
    else this.#answer = answer;
  }

  #load(internals: Internals, library: Record<string, unknown>): Make {
    const { host } = this.#store;
    const text = Buffer.from(this.#store.record(PARENT_ID)[2]).toString();
    const start = compileFunction(text, ['require', 'host'], { filename: 'tendril-parent' }) as (require: NodeJS.Require, host: MakerHost) => Make;
    return start(host.require, {
      ...internals,
      library,
      loaded: this.#loaded,
      idOf: (module) => this.#store.idOf(module),
      needParts: (names) => { this.#needParts(names); },
      allocateId: () => this.#allocateId(internals.config.id),
      send: (handle, value, dstId) => { host.send(handle, value, dstId); },
    });
  }

  #needParts(names: readonly string[]): void {
    const missing = (): boolean => names.some((name) => !this.#parts.has(name));
    if (!missing()) return;
    this.#store.host.send(PARENTHOOD, ['parts', names]);
    this.#store.host.wait(() => !missing());
  }

  #allocateId(selfId: number): number {
    const { host } = this.#store;
    this.#answer = undefined;
    host.send(PARENTHOOD, ['id'], selfId);
    const answer = (): Answer | undefined => this.#answer;
    host.wait(() => this.#answer !== undefined);
    const got = answer();
    if (got?.[0] === 'id') return got[1];
    throw host.error(got?.[0] === 'error' ? got[1] : 'ERR_TENDRIL_NO_IDS', got?.[0] === 'error' ? got[2] : 'there is no ID for a new context');
  }
}
