/** How a module is run; `error`: not at all, its source is why. */
export type ModuleFormat = 'commonjs' | 'module' | 'json' | 'wasm' | 'error';

/** What a specifier stands for: the ID of a module, null when there is none, or `!` and the code of why not, and perhaps a text. */
export type Target = string | null;

/** Who asks: `require()`, `import` and `import()`, or someone who knows the ID and lacks the module. */
export type RequestKind = 'require' | 'import' | 'id';

/** How the modules of a context are run: by Node's own loader with hooks, or from a rendering by the master. */
export type Profile = 'native' | 'rendered';

/**
 * What the linker of a rendered ES module needs, since nobody parses it in the child.
 *
 * `imports`: specifier, the names that must be there, and the attribute `type` if there is one, in the order of the source.
 * `reexports`: exported name, index in `imports`, imported name (null: the namespace). `stars`: indexes in
 * `imports`. `async`: it awaits at its top level.
 */
export interface ModuleLink {
  readonly imports: readonly (readonly [specifier: string, names: readonly string[], type: string | null])[];
  readonly reexports: readonly (readonly [name: string, index: number, imported: string | null])[];
  readonly stars: readonly number[];
  readonly async: boolean;
}

/**
 * One module as the master sends it (Mitogen's LOAD_MODULE tuple). The ID is the URL of the file at the master, and so
 * the path; the maps of what `require` and `import` find there are what Mitogen's `pkg_present` is: they answer for
 * absent modules too.
 */
export type ModuleRecord = readonly [
  id: string,
  format: ModuleFormat,
  source: Uint8Array,
  requires: Readonly<Record<string, Target>>,
  imports: Readonly<Record<string, Target>>,
  /** Names that a CommonJS module exports to those who import it. */
  names: readonly string[],
  link: ModuleLink | null,
];

/** The answer to one request, as `[kind, from, specifier, target]`. */
export type ModuleAnswer = readonly [kind: RequestKind, from: string, specifier: string, target: Target];

/** Payload of GET_MODULE. */
export type ModuleRequest = readonly [profile: Profile, kind: RequestKind, from: string, specifier: string];

/**
 * Payload of LOAD_MODULE: answers, and the records behind them, joined and deflated (src/importer/batch.ts). Without
 * answers it is the importer itself, which comes before all else. `codeCaches`, of the records or of the importer, only for
 * children that run the very Node of the master (docs/decisions.md, D-035).
 */
export type ModuleBatch = readonly [profile: Profile, answers: readonly ModuleAnswer[] | null, packed: Uint8Array, codeCaches?: Uint8Array];

/** Payload of FORWARD_MODULE: modules, and all that they need, are to go to a context below. */
export type ForwardRequest = readonly [contextId: number, profile: Profile, ids: readonly string[]];

/** What can be asked of a file beside a module. */
export type ResourceOperation = 'read' | 'stat' | 'list';

/** Payload of GET_RESOURCE: the path at the master. */
export type ResourceRequest = readonly [operation: ResourceOperation, path: string];

/** What `stat` gives. */
export type ResourceStat = readonly [kind: 'file' | 'directory', size: number, mtimeMs: number, mode: number];

/** Payload of LOAD_RESOURCE: bytes, a {@link ResourceStat}, or a list of `[name, kind]`; or the code of an error. */
export type ResourceAnswer = readonly [operation: ResourceOperation, path: string, error: string | null, value: unknown];

/** Which modules go to children (REFERENCE 1.2, "Import policy"); inherited by their children. */
export interface ModulePolicyConfig {
  readonly allow: readonly string[] | null;
  readonly deny: readonly string[];
  readonly local: readonly string[];
}
