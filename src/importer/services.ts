import type { Internals } from '../core/importer/importer.ts';
import type { ContextScope, ServiceOpener } from '../core/context.ts';
import type { LoadedModule } from './children.ts';
import { SERVICE_ID, serviceModule } from './ids.ts';
import type { Store } from './store.ts';

/** What the code that runs services (src/service/service-part.ts) needs of the importer and of the core. */
export interface ServiceHost extends Internals {
  readonly loaded: () => LoadedModule[];
  /** Evaluates a module of the master's: its exports, or a promise of them. */
  readonly load: (id: string) => unknown;
  readonly error: (code: string, message: string) => Error;
  /** Whether a context is known to be below this one. */
  readonly isBelow: (contextId: number) => boolean;
}

/** What that code gives. */
export interface ServicePart {
  /** What calls see as the module of services: classes by their names, with their methods. */
  module(id: string): object;
  serve(service: object, options?: { readonly name?: string }): object;
  readonly open: ServiceOpener;
}

/** Lets code in this context serve, and call services. What that takes comes with the first call of a service, or is loaded. */
export class Services {
  readonly #store: Store;
  readonly #loaded: () => LoadedModule[];
  readonly #load: (id: string) => unknown;
  #part: ServicePart | undefined;

  constructor(store: Store, loaded: () => LoadedModule[], load: (id: string) => unknown) {
    this.#store = store;
    this.#loaded = loaded;
    this.#load = load;
  }

  /** Gives `router` its method, and contexts theirs. */
  offer(): void {
    const { internals } = this.#store.host;
    if (internals === undefined) return;
    Object.defineProperty(internals.scope.router, 'serve', { value: (service: object, options?: { readonly name?: string }) => this.#start(internals).serve(service, options) });
    (internals.scope as { -readonly [key in keyof ContextScope]: ContextScope[key] }).service = (...given) => this.#start(internals).open(...given);
  }

  /** What a call sees as its module, if that is how calls name a service. */
  find(id: string): object | undefined {
    const module = serviceModule(id);
    const { internals } = this.#store.host;
    return module === undefined || internals === undefined ? undefined : this.#start(internals).module(module);
  }

  #start(internals: Internals): ServicePart {
    if (this.#part !== undefined) return this.#part;
    const { host, children } = this.#store;
    const given: ServiceHost = { ...internals, ...host.library(), loaded: this.#loaded, load: this.#load, error: host.error, isBelow: (id) => children.isBelow(id) };
    children.watchBelow();
    return (this.#part = children.part(SERVICE_ID, given) as ServicePart);
  }
}
