import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { isAbsolute } from 'node:path';
import { inspect } from 'node:util';
import type { FunctionRef } from '../../core/call/protocol.ts';
import type { ModuleOpener } from '../../core/context.ts';
import { UsageError } from '../../core/errors.ts';
import { moduleOf, pathOf, sourceFile } from './find/files.ts';

type Call = Parameters<ModuleOpener>[1];

/** What await, matchers and printers look for in objects that they do not know; here they must find nothing. */
const PROBES: ReadonlySet<string> = new Set(['asymmetricMatch', 'then', 'toJSON']);
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

/** A module whose members are calls: nothing is looked up, so a name that it does not export fails when it is called. */
export const openModule: ModuleOpener = (module, call) => {
  const id = moduleId(module);
  const target = { [inspect.custom]: () => `RemoteModule(${id})` };
  return membersOf(target, (name) => classOrFunction({ module: id, className: null, name }, call));
};

/** A function that is called when it is called, and the static methods of the class that it may be. */
function classOrFunction(ref: FunctionRef, call: Call): object {
  return membersOf(method(ref, call), (name) => method({ module: ref.module, className: ref.name, name }, call));
}

function method(ref: FunctionRef, call: Call): object {
  return (...args: unknown[]) => call(ref, args);
}

/** `target` with a member for every name that could be one and that it has not itself. */
function membersOf(target: object, make: (name: string) => object): object {
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

/** A module as contexts name it: the URL of a file as it really is, or `node:` and a name. */
function moduleId(module: unknown): string {
  // A URL of another realm is none of ours by its class.
  const name = typeof module === 'string' ? module : String((module as { href?: unknown } | null | undefined)?.href);
  if (name.startsWith('node:') && isBuiltin(name)) return name;
  // A question mark in the name of a file that is there is no query.
  const path = isAbsolute(name) && existsSync(name) ? name : pathOf(name);
  if (path !== undefined) return moduleOf(sourceFile(path) ?? path);
  throw new UsageError('ERR_TENDRIL_NOT_CALLABLE', `module() takes the URL or the absolute path of a file, or a builtin module such as node:os, got ${inspect(module)}; ${advice(module)}`);
}

function advice(module: unknown): string {
  if (typeof module !== 'string' || /^[a-z]+:/i.test(module)) return 'the module must be a file at the master';
  if (isBuiltin(module)) return `write 'node:${module}'`;
  if (/^\.{0,2}\//.test(module) || /\.[cm]?[jt]sx?$/.test(module)) return `write new URL('${module.startsWith('.') ? module : `./${module}`}', import.meta.url)`;
  return `write new URL(import.meta.resolve('${module}'))`;
}
