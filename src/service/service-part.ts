import type { CallTracker, CurrentCall } from '../core/call/current-call.ts';
import { invoke } from '../core/call/invoke.ts';
import type { ContextScope, ServiceOpener } from '../core/context.ts';
import type { ServiceHost, ServicePart } from '../importer/services.ts';
import { match } from '../parent/calls/places.ts';
import { serviceClient } from './client.ts';
import type { ServiceCall } from './life.ts';
import { Pool, serviceRef } from './pool.ts';
import type { ServiceRef } from './pool.ts';

/** The services of a child: its pool, and its clients. Comes through the importer when they are first used. */
export function start(host: ServiceHost): ServicePart {
  const { scope, config, dispatcher, tracker, error } = host;
  const { router } = scope;
  const { broker } = router;
  // Contexts that code here gets can be called from now on, as far as services go.
  Object.assign(scope as { -readonly [key in keyof ContextScope]: ContextScope[key] }, { invoke, current: () => currentOf(tracker) } satisfies Partial<ContextScope>);
  const exportOf = (exports: unknown, { className }: ServiceRef): unknown => (exports as Record<string, unknown> | undefined)?.[className ?? ''];
  const namesOf = (service: unknown): ServiceRef[] =>
    host.loaded().flatMap(([module, exports]) => {
      const place = match(exports, service as never)?.place;
      return place?.className === null ? [serviceRef(module, place.name)] : [];
    });
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
    namesOf,
  });
  const refs = new WeakMap<object, ServiceRef>();
  const refOf = (service: object): ServiceRef => {
    const ref = refs.get(service) ?? namesOf(service)[0];
    if (ref !== undefined) {
      refs.set(service, ref);
      return ref;
    }
    throw error('ERR_TENDRIL_BAD_SERVICE', `the class ${(service as { name?: string }).name ?? ''} cannot be named to others: no module that is loaded here exports it; export it, or serve it under a name`);
  };
  const open: ServiceOpener = (service, call, context) => serviceClient(typeof service === 'string' ? serviceRef('', service) : refOf(service), call, context.id === config.id || 'connected' in context);
  return {
    module: (module) =>
      members((className) => {
        const ref = serviceRef(module, className);
        return members((name) => (...args: unknown[]) => pool.call(ref, name, tracker.current() as ServiceCall, args));
      }),
    serve: (service, { name } = {}) => pool.serve(service, name === undefined ? refOf(typeof service === 'function' ? service : service.constructor) : serviceRef('', name)),
    open,
  };
}

function currentOf(tracker: CallTracker): CurrentCall | undefined {
  try {
    return tracker.current();
  } catch {
    return undefined;
  }
}

/** An object that has a member of every name. */
function members(make: (name: string) => unknown): object {
  return new Proxy({}, { has: () => true, get: (_target, name) => (typeof name === 'string' ? make(name) : undefined) });
}

