import { inspect } from 'node:util';
import type { FunctionRef } from '../../core/call/protocol.ts';
import type { ModuleOpener } from '../../core/context.ts';

type Call = Parameters<ModuleOpener>[1];

/** What await, matchers and printers look for in objects that they do not know; here they must find nothing. */
const PROBES: ReadonlySet<string> = new Set(['asymmetricMatch', 'then', 'toJSON']);
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

/** A module whose members are calls: nothing is looked up, so a name that it does not export fails when it is called. */
export function remoteModule(id: string, call: Call): object {
  const target = { [inspect.custom]: () => `RemoteModule(${id})` };
  return membersOf(target, (name) => classOrFunction({ module: id, className: null, name }, call));
}

/** A function that is called when it is called, and the static methods of the class that it may be. */
function classOrFunction(ref: FunctionRef, call: Call): object {
  return membersOf(method(ref, call), (name) => method({ module: ref.module, className: ref.name, name }, call));
}

function method(ref: FunctionRef, call: Call): object {
  return (...args: unknown[]) => call(ref, args);
}

/** `target` with a member for every name that could be one and that it has not itself. */
export function membersOf(target: object, make: (name: string) => object): object {
  const members = new Map<string, object>();
  return new Proxy(target, {
    get: (_target, name) => {
      if (typeof name === 'symbol' || PROBES.has(name)) return undefined;
      if (name in target || !IDENTIFIER.test(name)) return Reflect.get(target, name) as unknown;
      let member = members.get(name);
      if (member === undefined) members.set(name, (member = make(name)));
      return member;
    },
    set: () => false,
  });
}
