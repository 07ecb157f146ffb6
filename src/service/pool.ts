import type { Dispatcher } from '../core/call/dispatch.ts';
import { callKey } from '../core/call/protocol.ts';
import type { FunctionRef } from '../core/call/protocol.ts';
import type { ServiceCaller, ServiceClass } from '../core/call/types.ts';
import { CALL_SERVICE } from '../core/wire/handles.ts';
import type { Router } from '../core/routing/router.ts';
import { serviceModule } from '../importer/ids.ts';
import { bounded } from './backlog.ts';
import { Callers, MAX_CALLS } from './callers.ts';
import type { ServiceCall } from './life.ts';
import { Method, slotsOf } from './method.ts';
import type { MethodHost } from './method.ts';

/** How a service is named in calls: the module and the export of its class, or no module and a name of its own. */
export interface ServiceRef extends Pick<FunctionRef, 'module' | 'className'> {
  /** Both in one: how it is known here, and named in errors. */
  readonly name: string;
}

/** Names a service. */
export function serviceRef(module: string, className: string | null): ServiceRef {
  return { module, className, name: module === '' ? (className ?? '') : `${module}#${className ?? ''}` };
}

/** What the pool needs of the context that it is in. */
export interface PoolHost extends MethodHost {
  readonly router: Router;
  readonly dispatcher: Dispatcher;
  relationOf(contextId: number): ServiceCaller['relation'];
  /** The class that a reference names, or a promise of it: for callers that may start it. Loads its module. */
  load(ref: ServiceRef): unknown;
  /** The names of a class, as far as modules are loaded here: they give those of others as their own. */
  namesOf(service: unknown): readonly ServiceRef[];
}

/** A service that runs here. */
export interface Serving extends Disposable {
  /** Takes no more calls; those under way go on. Behind the last service, calls are answered with `invalid-handle`. */
  close(): void;
}

interface Running {
  readonly instance: object;
  readonly methods: ReadonlyMap<string, Method>;
}

/** The services of a context (Mitogen's Pool and Activator): starts them, and runs their methods for those who may. */
export class Pool {
  readonly #host: PoolHost;
  readonly #callers: Callers;
  readonly #byClass = new Map<unknown, Running>();
  readonly #byName = new Map<string, Running>();
  /** Those whose module is being loaded. */
  readonly #starting = new Map<string, Promise<Running>>();
  #listening = false;
  #watching = false;

  constructor(host: PoolHost) {
    this.#host = host;
    this.#callers = new Callers(host.router);
  }

  /** Serves an instance, or one that is made of a class. */
  serve(service: object, ref: ServiceRef): Serving {
    const { name } = ref;
    const instance: object = typeof service === 'function' ? make(service as ServiceClass<object>) : service;
    if (this.#byName.has(name) || (ref.module !== '' && this.#byClass.has(instance.constructor))) throw this.#host.error('ERR_TENDRIL_BAD_SERVICE', `${name} is served here already; close that one first, or give this one a name`);
    const running = this.#run(instance, name, ref.module !== '');
    const close = (): void => {
      this.#stop(running);
    };
    return { close, [Symbol.dispose]: close };
  }

  /**
   * Runs a method for a call, and starts the service if it does not run and the caller is above.
   *
   * @param bytes - of the message, which count for callers that are not above
   */
  call(ref: ServiceRef, method: string, execution: ServiceCall, args: readonly unknown[], bytes = 0): unknown {
    const { callerId } = execution;
    const relation = this.#host.relationOf(callerId);
    const running = this.#find(ref, relation === 'parent' || relation === 'self');
    const run = (found: Running): unknown => this.#call(found, ref, method, { id: callerId, relation }, execution, args, bytes);
    return running instanceof Promise ? running.then(run) : run(running);
  }

  /** Answers CALL_SERVICE from now on. */
  listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    const { dispatcher, router } = this.#host;
    // One that is under way is not to be hidden by another with the same handle.
    dispatcher.answer(CALL_SERVICE, ({ srcId, replyTo }) => replyTo !== 0 && !this.#callers.has(srcId, callKey(srcId, replyTo)), ({ module, className, name }, execution, bytes) => {
      const ref = serviceRef(serviceModule(module) ?? module, className);
      return (...args) => this.call(ref, name, execution, args, bytes);
    });
    if (this.#watching) return;
    this.#watching = true;
    // Told when the router closes.
    router.addHandler(router.allocateHandle(), { respondent: router.id, deliver: () => { this.#dispose(); } });
  }

  #call({ methods }: Running, ref: ServiceRef, name: string, caller: ServiceCaller, execution: ServiceCall, args: readonly unknown[], bytes: number): unknown {
    const method = methods.get(name);
    if (method === undefined) throw this.#host.error('ERR_TENDRIL_NO_METHOD', `${ref.name} has no method ${name}, or does not list it in its static member methods`);
    method.admit(caller);
    method.check(args);
    if (caller.relation === 'parent' || caller.relation === 'self') return method.run(execution, args);
    const backlog = this.#callers.note(execution, bytes);
    if (backlog === undefined) throw this.#host.error('ERR_TENDRIL_SERVICE_BUSY', `context ${String(caller.id)} has ${String(MAX_CALLS)} calls of services under way, or too large ones; let some end before you make more`);
    return bounded(method.run(execution, args), backlog, () => this.#host.error('ERR_TENDRIL_OVERFLOW', `context ${String(caller.id)} consumes more slowly than ${ref.name}.${name} emits, and too many values wait; give an async iterable, which is paused, or emit less`));
  }

  #find(ref: ServiceRef, mayStart: boolean): Running | Promise<Running> {
    const { name } = ref;
    const named = this.#byName.get(name);
    if (named !== undefined) return named;
    if (!mayStart) throw this.#host.error('ERR_TENDRIL_SERVICE_NOT_ACTIVE', `service ${name} is not yet activated in this context, and the caller is not privileged, therefore autoactivation is disabled; have a context above it call it first, or serve it there`);
    return this.#starting.get(name) ?? this.#start(ref, name);
  }

  #start(ref: ServiceRef, name: string): Running | Promise<Running> {
    const loaded = this.#host.load(ref);
    if (!(loaded instanceof Promise)) return this.#activate(loaded, name);
    const starting = loaded.then((found: unknown) => this.#activate(found, name)).finally(() => {
      this.#starting.delete(name);
    });
    this.#starting.set(name, starting);
    return starting;
  }

  #activate(found: unknown, name: string): Running {
    const known = this.#byClass.get(found);
    if (known !== undefined) {
      this.#byName.set(name, known);
      return known;
    }
    if (!isService(found)) throw this.#host.error('ERR_TENDRIL_NO_SERVICE', `there is no service ${name}: nothing is served under that name, and no class with a static member methods is exported there`);
    return this.#run(make(found), name, true);
  }

  #run(instance: object, name: string, byClass: boolean): Running {
    const service = instance.constructor as unknown;
    if (!isService(service)) throw this.#host.error('ERR_TENDRIL_BAD_SERVICE', `${name} cannot be served: its class has no static member methods, which says what can be called and by whom`);
    const slots = slotsOf(this.#host, name, service as { concurrency?: number; queue?: number });
    const members = instance as Record<string, unknown>;
    const methods = new Map<string, Method>();
    for (const [key, options] of Object.entries(service.methods)) {
      if (typeof members[key] !== 'function') throw this.#host.error('ERR_TENDRIL_BAD_SERVICE', `${name} lists a method ${key}, which it does not have`);
      methods.set(key, new Method(this.#host, `${name}.${key}`, options, slots, (args) => Reflect.apply(members[key] as (...args: unknown[]) => unknown, instance, args)));
    }
    const running: Running = { instance, methods };
    this.#byName.set(name, running);
    if (byClass) {
      this.#byClass.set(service, running);
      for (const other of this.#host.namesOf(service)) this.#byName.set(other.name, running);
    }
    this.listen();
    return running;
  }

  #stop(running: Running): void {
    const before = this.#byName.size;
    for (const [name, other] of this.#byName) if (other === running) this.#byName.delete(name);
    for (const [service, other] of this.#byClass) if (other === running) this.#byClass.delete(service);
    if (this.#byName.size === before) return;
    dispose(running.instance, this.#host);
    if (this.#byName.size > 0) return;
    this.#listening = false;
    this.#host.router.removeHandler(CALL_SERVICE);
  }

  /** The context ends. */
  #dispose(): void {
    for (const running of new Set(this.#byName.values())) dispose(running.instance, this.#host);
    this.#byName.clear();
    this.#byClass.clear();
  }
}

function isService(found: unknown): found is ServiceClass<object> {
  const methods: unknown = typeof found === 'function' ? (found as { methods?: unknown }).methods : undefined;
  return typeof methods === 'object' && methods !== null;
}

function make(service: ServiceClass<object>): object {
  return new service();
}

function dispose(instance: object, host: PoolHost): void {
  try {
    (instance as Partial<Disposable>)[Symbol.dispose]?.();
  } catch (error) {
    host.report(error, 'the end of a service');
  }
}
