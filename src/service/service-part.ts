import { invoke } from '../core/call/invoke.ts';
import type { ContextScope, ServiceOpener } from '../core/context.ts';
import type { ServiceHost, ServicePart } from '../importer/services.ts';
import { match } from '../parent/calls/places.ts';
import { serviceClient } from './client.ts';
import type { ServiceCall } from './life.ts';
import { Pool } from './pool.ts';
import type { ServiceRef } from './pool.ts';

/** The services of a child: its pool, and its clients. Comes through the importer when they are first used. */
export function start(host: ServiceHost): ServicePart {
  const { scope, config, dispatcher, tracker, error } = host;
  const { router } = scope;
  const { broker } = router;
  // Contexts that code here gets can be called from now on, as far as services go.
  (scope as { -readonly [key in keyof ContextScope]: ContextScope[key] }).invoke = invoke;
  const exportOf = (exports: unknown, { className }: ServiceRef): unknown => (exports as Record<string, unknown> | undefined)?.[className ?? ''];
  const pool = new Pool({
    router,
    dispatcher,
    tracker,
    error,
    now: () => broker.now(),
    report: (thrown, where) => {
      broker.report(thrown, where);
    },
    relationOf: (id) => (id === config.id ? 'self' : router.parentIds.includes(id) ? 'parent' : host.isBelow(id) ? 'child' : 'sibling'),
    load: (ref) => {
      if (ref.module === '') return undefined;
      const exports = host.load(ref.module);
      return exports instanceof Promise ? exports.then((found: unknown) => exportOf(found, ref)) : exportOf(exports, ref);
    },
    loaded: (ref) => {
      const found = ref.module === '' ? undefined : host.loaded().find(([id]) => id === ref.module);
      return found && exportOf(found[1], ref);
    },
  });
  pool.listen();
  const refOf = (service: object): ServiceRef => {
    for (const [module, exports] of host.loaded()) {
      const place = match(exports, service as never)?.place;
      if (place?.className === null) return { module, className: place.name };
    }
    throw error('ERR_TENDRIL_BAD_SERVICE', `the class ${(service as { name?: string }).name ?? ''} cannot be named to others: no module that is loaded here exports it; export it, or serve it under a name`);
  };
  const open: ServiceOpener = (service, call, context) => serviceClient(typeof service === 'string' ? { module: '', className: service } : refOf(service), call, context.id === config.id || 'connected' in context);
  return {
    module: (module) => members((className) => members((name) => (...args: unknown[]) => pool.call({ module, className }, name, tracker.current() as ServiceCall, args))),
    serve: (service, { name } = {}) => pool.serve(service, name === undefined ? refOf(typeof service === 'function' ? service : service.constructor) : { module: '', className: name }),
    open,
  };
}

/** An object that has a member of every name. */
function members(make: (name: string) => unknown): object {
  return new Proxy({}, { has: () => true, get: (_target, name) => (typeof name === 'string' ? make(name) : undefined) });
}

