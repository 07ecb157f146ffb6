import type { Internals } from '../core/importer/importer.ts';
import { CHAIN_ID, chainedModule } from './ids.ts';
import type { Store } from './store.ts';

/** What the code that keeps results (src/chain/chain-part.ts) needs of the core. */
export type ChainHost = Pick<Internals, 'resolve' | 'tracker'> & { readonly error: (code: string, message: string) => Error };

/** What that code gives: what calls see as the module of functions that work on results which are kept. */
export type ChainPart = (module: string) => object;

/** Keeps results of calls for later calls of their chain. What that takes comes ahead of the first of them. */
export class Chains {
  readonly #store: Store;
  #part: ChainPart | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** What a call sees as its module, if it works on results that are kept here. */
  find(id: string): object | undefined {
    const module = chainedModule(id);
    const { children, host } = this.#store;
    const { internals } = host;
    if (module === undefined || internals === undefined) return undefined;
    this.#part ??= children.part(CHAIN_ID, { ...internals, error: host.error } satisfies ChainHost) as ChainPart;
    return this.#part(module);
  }
}
