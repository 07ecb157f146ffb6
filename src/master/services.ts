import { Dispatcher } from '../core/call/dispatch.ts';
import type { ServiceClass } from '../core/call/types.ts';
import type { ContextScope, ServiceOpener } from '../core/context.ts';
import { TendrilError, UsageError } from '../core/errors.ts';
import { serviceClient } from '../service/client.ts';
import { Pool, serviceRef } from '../service/pool.ts';
import type { ServiceRef, Serving } from '../service/pool.ts';
import { servedCalls } from '../service/served-calls.ts';
import { findClass } from './modules/function-finder.ts';

/** A master runs methods of services, and no functions for anybody. */
function noFunctions(): never {
  throw new UsageError('ERR_TENDRIL_NO_FUNCTION', 'a master runs no functions for others; call it directly');
}

/** How calls name a service. */
export function refOf(service: ServiceClass | string): ServiceRef {
  if (typeof service === 'string') return serviceRef('', service);
  const { module, className } = findClass(service);
  return serviceRef(module, className);
}

/** Options of {@link Services.serve}. */
export interface ServeOptions {
  /** What callers call it, in the place of its class: `context.service('name')`. Default: by its class, which a module exports. */
  readonly name?: string;
}

/** The services of a master: those that it serves, and the clients of those in its contexts. */
export class Services {
  readonly #scope: () => ContextScope;
  readonly #classes = new Map<string, unknown>();
  #pool: Pool | undefined;

  constructor(scope: () => ContextScope) {
    this.#scope = scope;
  }

  serve(service: object, { name }: ServeOptions = {}): Serving {
    if (name !== undefined && (typeof (name as unknown) !== 'string' || name === '' || name.length > 256)) throw new UsageError('ERR_TENDRIL_BAD_SERVICE', `the name of a service must be a text of 1 to 256 characters, got ${name}`);
    const ref = name === undefined ? refOf(typeof service === 'function' ? (service as ServiceClass) : (service.constructor as ServiceClass)) : serviceRef('', name);
    return this.#started().serve(service, ref);
  }

  readonly open: ServiceOpener = (service, call, context) => {
    const ref = refOf(service);
    if (context.id === this.#scope().router.id) {
      // In this process: it may be started by calling it, of what is loaded here.
      if (typeof service !== 'string') this.#classes.set(ref.name, service);
      this.#started().listen();
    }
    return serviceClient(ref, call, 'connected' in context);
  };

  #started(): Pool {
    return (this.#pool ??= this.#start());
  }

  #start(): Pool {
    const scope = this.#scope();
    const { router } = scope;
    servedCalls.enable();
    return new Pool({
      router,
      dispatcher: new Dispatcher(scope, noFunctions, servedCalls),
      tracker: servedCalls,
      now: () => router.broker.now(),
      report: (thrown, where) => {
        router.broker.report(thrown, where);
      },
      error: (code, message) => new TendrilError(code, message),
      relationOf: (id) => (id === router.id ? 'self' : 'child'),
      load: ({ name }) => this.#classes.get(name),
      namesOf: () => [],
    });
  }
}
