import type { RemoteFunction } from '../../../core/call/types.ts';
import { UsageError } from '../../../core/errors.ts';
import { codeOnly } from '../code-only.ts';
import { lexFile, pathOf, read } from './files.ts';
import type { Inspected, Scope } from './inspection.ts';
import { hasExport } from './loaded.ts';

/** Why a function cannot be called, and the two lines that help. */
interface Refusal {
  readonly why: string;
  readonly advice: string;
  readonly remedy: readonly [string, string];
}

/** The error for a function whose module was not found: what it is, and what to do about it. */
export function notCallable(fn: RemoteFunction, inspected: Inspected | undefined, callers: readonly string[]): UsageError {
  const { why, advice, remedy } = refusal(fn, inspected, callers);
  const who = fn.name === '' ? 'an anonymous function' : `the function ${fn.name}`;
  return new UsageError('ERR_TENDRIL_NOT_CALLABLE', `${who} cannot be called in another context: ${why}. ${advice}:\n${remedy.join('\n')}`);
}

function refusal(fn: RemoteFunction, inspected: Inspected | undefined, callers: readonly string[]): Refusal {
  const name = /([\w$]+)$/.exec(fn.name)?.[1] ?? 'task';
  const exporting = (why: string, where: string, args = '...'): Refusal => ({ why, advice: 'Export a function from a module, and import it from there', remedy: [`export function ${name}(${args}) { ... }   // ${where}`, `context.call(${name}, ${args})`] });
  if (isClass(fn)) return { why: 'it is a class', advice: 'Call one of its static methods', remedy: [`export class ${name} { static run(...) { ... } }`, `context.call(${name}.run, ...)`] };
  if (inspected === undefined) return naming('the inspector, which could tell where it was written, is not permitted here', name, callers);
  const { bound, target, script, scopes } = inspected;
  if (bound) return exporting('it is bound, and no module exports it', 'in a module; what it is bound to becomes an argument');
  if (target) return exporting('it is a Proxy, and no module exports it', 'in a module');
  if (script === undefined || script.url.startsWith('node:')) return exporting('it is native, of JavaScript or Node itself, and no module exports it', 'in a module; it calls the native one');
  const path = pathOf(script.url);
  if (path === undefined) return exporting(script.url.startsWith('data:') ? 'it comes from a data: URL, which is not a file' : 'it was made by eval or from another text, and is in no file', 'in a module');
  const text = Function.prototype.toString.call(fn);
  if (!script.isModule && hasExport(path, fn.name)) return naming(`${path} exports another function by that name, of another instance of the module perhaps`, name, callers);
  const holder = holderOf(fn, scopes);
  if (holder?.kind === 'class') return { why: `its class ${holder.name} is not exported from ${path}`, advice: 'Export the class, and import it from there', remedy: [`export class ${holder.name} { ... }   // in ${path}`, `context.call(${holder.name}.${name}, ...)`] };
  if (holder?.kind === 'object') return exporting(`it is a method of the object ${holder.name}, and not an export itself`, 'in a module; what it reads from `this` becomes an argument');
  if (holder || isTopLevel(name, path)) return { ...exporting(`${path} does not export it`, ''), remedy: [isCommonJs(path) ? `exports.${name} = ${name};   // in ${path}` : `export function ${name}(...) { ... }   // in ${path}`, `context.call(${name}, ...)`] };
  if (isMethod(text)) return exporting('it is a method of an object, and not an export itself', 'in a module; what it reads from `this` becomes an argument');
  if (callers.length > 0 && !callers.includes(path)) return naming(`it was made by a function of ${path}, and no module that ${callers[0] ?? ''} imports exports it`, name, callers);
  if (fn.name === '') return exporting('it has no name, and no module exports it', 'in a module');
  const values = closedOver(text, script.isModule ? scopes : scopes.slice(0, -1));
  return exporting(`it is a closure, made inside another function${values.length > 0 ? `, and uses ${values.join(', ')} of it` : ''}`, 'in a module; what it closes over becomes arguments', [...values, '...'].join(', '));
}

/** A class cannot be called, wherever it is exported. */
export function isClass(fn: RemoteFunction): boolean {
  return /^class\b/.test(Function.prototype.toString.call(fn));
}

/** The way out where a function is exported, but not found: to say which module it is. */
function naming(why: string, name: string, callers: readonly string[]): Refusal {
  const types = /\.[cm]?tsx?$/.test(callers[0] ?? '') ? "<typeof import('./tasks.ts')>" : '';
  const url = types === '' ? './tasks.js' : './tasks.ts';
  return { why, advice: 'If a module exports it, say which', remedy: [`const tasks = context.module${types}(new URL('${url}', import.meta.url));`, `tasks.${name}(...)`] };
}

/** What in the module has the function: a variable, a class, an object. */
function holderOf(fn: RemoteFunction, scopes: readonly Scope[]): { kind: 'variable' | 'class' | 'object'; name: string } | undefined {
  const variables = Object.entries(scopes.find(({ kind }) => kind === 'Module')?.variables ?? {});
  const has = (value: unknown, kind: string): boolean => typeof value === kind && value !== null && Object.values(Object.getOwnPropertyDescriptors(value)).some((descriptor) => descriptor.value === fn);
  for (const [name, value] of variables) if (value === fn) return { kind: 'variable', name };
  for (const [name, value] of variables) if (has(value, 'function')) return { kind: 'class', name };
  for (const [name, value] of variables) if (has(value, 'object')) return { kind: 'object', name };
  return undefined;
}

/** Whether a file declares the name at the beginning of a line, as one does at the top level of a module. */
function isTopLevel(name: string, path: string): boolean {
  const declared = new RegExp(`^(?:export\\s+)?(?:async\\s+)?(?:function\\s*\\*?|const|let|var)\\s*\\b${name.replaceAll('$', '\\$')}\\b`, 'm');
  return declared.test(codeOnly(read(path) ?? ''));
}

function isCommonJs(path: string): boolean {
  return !/\.m?tsx?$/.test(path) && lexFile(path)?.[3] === false;
}

/** Methods are written without `function` and without an arrow. */
function isMethod(text: string): boolean {
  return !/^(?:async\b\s*)?(?:function\b|\([^]*?\)\s*=>|[\w$]+\s*=>)/.test(text);
}

/** Up to three variables of outer functions that a text names. */
function closedOver(text: string, scopes: readonly Scope[]): string[] {
  const words = new Set(codeOnly(text).match(/[\w$]+/g));
  return scopes.filter(({ kind }) => kind !== 'Module').flatMap(({ variables }) => Object.keys(variables)).filter((name) => words.has(name)).slice(0, 3);
}
