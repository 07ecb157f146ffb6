import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ModuleFormat, ModuleLink, ModuleRecord, Profile, RequestKind, Target } from '../../core/importer/records.ts';
import { messageOf } from '../../core/errors.ts';
import { LIBRARY_ID, LIBRARY_PARTS, withoutQuery } from '../../importer/ids.ts';
import { ModulePolicy, namesOf } from '../../importer/policy.ts';
import { libraryPart } from '../part-files.ts';
import { checkMainScript } from './main-script.ts';
import { packageType } from './packages.ts';
import { render, renderDynamicImports, syntaxFault } from './render.ts';
import { Resolver } from './resolver.ts';
import { commonJsNames, hasModuleSyntax, scan } from './scanner.ts';
import type { Scan } from './scanner.ts';
import { isTypeScript, stripTypes, toCommonJs, typescriptAsCommonJs } from './transform.ts';

/** Bytes that the source of one module may have. */
export const MAX_MODULE_BYTES: number = 32 * 1024 * 1024;

/** Makes another source of the one that is on the disk. */
export type SourceModifier = (source: string, id: string) => string;

/** One module at the master, whoever it is sent to. */
interface Entry {
  readonly id: string;
  readonly path: string;
  readonly format: ModuleFormat;
  readonly source: string | Uint8Array;
  readonly found: Scan;
  readonly requires: Record<string, Target>;
  readonly imports: Record<string, Target>;
  readonly modules: Map<Profile, GraphModule>;
}

type Tail<T extends readonly unknown[]> = T extends readonly [unknown, ...infer R] ? R : never;

/** A module as it is sent, and where it leads. */
export interface GraphModule {
  readonly record: ModuleRecord;
  /** Modules that it cannot be run without. */
  readonly needs: readonly string[];
  /** Modules that it may ask for by their IDs later: those of literal `import()`. */
  readonly mayAsk: readonly string[];
}

/** The modules of this process as children see them, read and scanned once. */
export class ModuleGraph {
  readonly resolver = new Resolver();
  readonly #policy: ModulePolicy;
  readonly #entries = new Map<string, Entry>();
  readonly #overrides = new Map<string, string>();
  readonly #modifiers = new Map<string, SourceModifier>();

  constructor(policy: ModulePolicy) {
    this.#policy = policy;
  }

  /** Gives a module another source than its file has, or makes one where there is no file. */
  override(id: string, source: string): void {
    this.#overrides.set(id, source);
    this.#entries.delete(id);
  }

  /** Changes the source of a module before it is scanned. */
  modify(id: string, modifier: SourceModifier): void {
    this.#modifiers.set(id, modifier);
    this.#entries.delete(id);
  }

  /** A module for children of a profile. */
  module(id: string, profile: Profile): GraphModule {
    const entry = this.#entry(withoutQuery(id));
    let module = entry.modules.get(profile);
    if (module === undefined) entry.modules.set(profile, (module = this.#module(entry, profile)));
    const { record } = module;
    // Instances share their source.
    return record[0] === id ? module : { ...module, record: [id, ...(record.slice(1) as Tail<ModuleRecord>)] };
  }

  #module(entry: Entry, profile: Profile): GraphModule {
    const { found, requires, imports } = entry;
    const needs = [...found.requires.map((specifier) => requires[specifier]), ...found.imports.map((specifier) => imports[specifier])];
    const late = found.dynamic.map((specifier) => imports[specifier]);
    return { record: this.#record(entry, profile), needs: [...new Set(needs)].filter(isModule), mayAsk: late.filter(isModule) };
  }

  /** Whether a module has been read already. */
  has(id: string): boolean {
    return this.#entries.has(id) && id === withoutQuery(id);
  }

  /** What a specifier stands for, for a child that asks. Refusals of the policy are answers too. */
  resolveFor(kind: RequestKind, from: string, specifier: string): Target {
    if (kind === 'id') return this.#checked(specifier);
    if (this.#policy.isLocal(specifier)) return null;
    return this.#checked(this.resolver.resolveFor(kind, pathOf(from), specifier));
  }

  #checked(target: Target): Target {
    if (target === null || !isModule(target)) return target;
    const names = namesOf(target);
    // What is the child's own is never sent, by whatever name.
    if (names.slice(1).some((name) => this.#policy.isLocal(name))) return null;
    const refusal = this.#policy.refusal(names);
    return refusal === undefined ? target : `!ERR_TENDRIL_MODULE_REFUSED ${refusal}`;
  }

  #entry(id: string): Entry {
    const known = this.#entries.get(id);
    if (known) return known;
    try {
      const entry = this.#read(id);
      this.#entries.set(id, entry);
      return entry;
    } catch (error) {
      // Not kept: a file may come, or be mended.
      return failed(id, error);
    }
  }

  #read(id: string): Entry {
    const part = LIBRARY_PARTS.get(id);
    if (part !== undefined) return library(id, libraryPart(part));
    const data = id.startsWith('data:') ? dataOf(id) : undefined;
    const path = data ? id : pathOf(id);
    const bytes = data?.bytes ?? this.#bytes(id, path);
    const extension = data?.extension ?? /\.\w+$/.exec(path)?.[0] ?? '';
    const none: Scan = { requires: [], imports: [], dynamic: [], dynamicAt: [] };
    const plain = { id, path, requires: {}, imports: {}, modules: new Map<Profile, GraphModule>() };
    if (extension === '.wasm') return { ...plain, format: 'wasm', source: bytes, found: none };
    const modifier = this.#modifiers.get(withoutQuery(id));
    const text = Buffer.from(bytes).toString().replace(/^\uFEFF/, '');
    let source = modifier ? modifier(text, id) : text;
    if (extension === '.json') return { ...plain, format: 'json', source, found: none };
    if (id.startsWith('file:')) checkMainScript(withoutQuery(id), source);
    if (isTypeScript(path)) source = stripTypes(path, source);
    let format = formatOf(path, extension, source);
    // As the tools do that run TypeScript as CommonJS.
    if (isTypeScript(path) && (format === 'commonjs' || asCommonJs(path)) && hasModuleSyntax(source)) {
      format = 'commonjs';
      source = toCommonJs(path, source);
    }
    const found = scan(source, format === 'module');
    const requires = this.#targets('require', path, found.requires);
    const imports = this.#targets('import', path, [...found.imports, ...found.dynamic]);
    return { ...plain, format, source, found, requires, imports };
  }

  #bytes(id: string, path: string): Uint8Array {
    const override = this.#overrides.get(withoutQuery(id));
    if (override !== undefined) return Buffer.from(override);
    const stat = statSync(path);
    if (!stat.isFile()) throw Object.assign(new Error(`${path} is not a file`), { code: 'MODULE_NOT_FOUND' });
    if (stat.size > MAX_MODULE_BYTES) throw Object.assign(new Error(`${path} has ${String(stat.size)} bytes, and a module may have ${String(MAX_MODULE_BYTES)}; read it as a file, or send it in parts`), { code: 'ERR_TENDRIL_MODULE_TOO_LARGE' });
    return readFileSync(path);
  }

  #targets(kind: 'require' | 'import', path: string, specifiers: readonly string[]): Record<string, Target> {
    const targets: Record<string, Target> = {};
    for (const specifier of specifiers) {
      // The child's own packages are for the child to find.
      if (specifier !== '__proto__' && !this.#policy.isLocal(specifier)) targets[specifier] ??= this.#checked(this.resolver.resolve(kind, path, specifier));
    }
    return targets;
  }

  #record(entry: Entry, profile: Profile): ModuleRecord {
    const { id, format, source, requires, imports, found } = entry;
    const make = (text: string | Uint8Array, link: ModuleLink | null = null, as: ModuleFormat = format): ModuleRecord => {
      const names = as === 'commonjs' ? [...this.#names(entry, new Set())] : [];
      return [id, as, typeof text === 'string' ? Buffer.from(text) : text, requires, imports, names, link];
    };
    if (typeof source !== 'string') return make(source);
    if (profile === 'native') {
      // The engine does not say where an ES module does not parse. Packages have been run before.
      const fault = format === 'module' && !/[/\\]node_modules[/\\]/.test(id) ? syntaxFault(source) : undefined;
      return fault === undefined ? make(source) : make(failureText('SyntaxError', '', `${pathOf(id)}: ${fault}`), null, 'error');
    }
    if (format === 'commonjs') return make(renderDynamicImports(source.replace(/^#!/, '//'), found.dynamicAt));
    if (format !== 'module') return make(source);
    try {
      const rendering = render(source);
      return make(rendering.source, rendering.link);
    } catch (error) {
      return make(failureText('SyntaxError', '', `${pathOf(id)}: ${messageOf(error)}`), null, 'error');
    }
  }

  /** The names of a CommonJS module, with those of the modules that it passes on. */
  #names(entry: Entry, seen: Set<string>): Set<string> {
    const all = new Set<string>();
    if (seen.has(entry.id) || entry.format !== 'commonjs' || typeof entry.source !== 'string') return all;
    seen.add(entry.id);
    const { names, from } = commonJsNames(entry.source);
    for (const name of names) all.add(name);
    for (const specifier of from) {
      const target = entry.requires[specifier];
      if (target != null && isModule(target)) for (const name of this.#names(this.#entry(target), seen)) all.add(name);
    }
    return all;
  }
}

function pathOf(id: string): string {
  return fileURLToPath(withoutQuery(id));
}

/** A target that is a module which can be sent. */
function isModule(target: Target | undefined): target is string {
  return target != null && (target.startsWith('file:') || target.startsWith('data:')) && target !== LIBRARY_ID && !withoutQuery(target).endsWith('.node');
}

function formatOf(path: string, extension: string, source: string): 'commonjs' | 'module' {
  if (/^\.m[jt]s$/.test(extension)) return 'module';
  if (/^\.c[jt]s$/.test(extension)) return 'commonjs';
  if (path.startsWith('data:')) return 'module';
  // The type of a package speaks of these, and of files without an extension.
  if (extension !== '' && !/^\.[jt]sx?$/.test(extension)) return 'commonjs';
  return packageType(path) ?? (hasModuleSyntax(source) ? 'module' : 'commonjs');
}

function asCommonJs(path: string): boolean {
  return typescriptAsCommonJs && isTypeScript(path) && !path.endsWith(".mts") && packageType(path) !== 'module';
}

/** A part of the library that goes through the importer. */
function library(id: string, source: string): Entry {
  return { id, path: id, format: 'commonjs', source, found: { requires: [], imports: [], dynamic: [], dynamicAt: [] }, requires: {}, imports: {}, modules: new Map() };
}

function failureText(name: string, code: string, message: string): string {
  return JSON.stringify([name, code, message]);
}

/** What is sent in the place of a module that cannot be: its failure, thrown where it is imported and nowhere else. */
function failed(id: string, error: unknown): Entry {
  const given = (error as { code?: unknown }).code;
  const code = typeof given === 'string' ? (given === 'ENOENT' || given === 'EISDIR' || given === 'ENOTDIR' ? 'MODULE_NOT_FOUND' : given) : '';
  const name = error instanceof SyntaxError || (error as { name?: unknown }).name === 'SyntaxError' ? 'SyntaxError' : 'Error';
  const source = failureText(name, code, messageOf(error));
  return { id, path: id, format: 'error', source, found: { requires: [], imports: [], dynamic: [], dynamicAt: [] }, requires: {}, imports: {}, modules: new Map() };
}

/** The content of a `data:` URL and the extension that its type would have. */
function dataOf(id: string): { bytes: Uint8Array; extension: string } {
  const [, type = '', base64, body = ''] = /^data:([^;,]*)[^,]*?(;base64)?,([^]*)$/.exec(id) ?? [];
  const extension = { 'application/json': '.json', 'application/wasm': '.wasm', 'text/javascript': '.mjs' }[type];
  if (extension === undefined) throw Object.assign(new Error(`Unknown module format: ${type} for URL ${id}`), { code: 'ERR_UNKNOWN_MODULE_FORMAT' });
  return { bytes: base64 === undefined ? Buffer.from(decodeURIComponent(body)) : Buffer.from(body, 'base64'), extension };
}
