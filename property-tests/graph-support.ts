import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import type { Files } from '../test/support/application.ts';

/** How a module comes to another. `later`: by a function that runs when the entry has been evaluated. */
const WAYS = ['default', 'named', 'namespace', 'bare', 'star', 'reexport', 'starAs', 'require', 'await', 'computed', 'later'] as const;
type Way = (typeof WAYS)[number];

/** What fast-check makes and shrinks. Any such list stands for a graph: {@link planGraph} bends what cannot be. */
export interface Draft {
  readonly kind: 'cjs' | 'esm' | 'json';
  readonly edges: readonly { readonly to: number; readonly way: Way; readonly caught: boolean }[];
  readonly names: readonly string[];
  readonly style: number;
  readonly waits: boolean;
  readonly throws: boolean;
}

/** A target that is not there. */
const ABSENT = 12;

export const drafts: fc.Arbitrary<Draft[]> = fc.array(
  fc.record({
    kind: fc.oneof({ weight: 5, arbitrary: fc.constant('esm' as const) }, { weight: 4, arbitrary: fc.constant('cjs' as const) }, { weight: 1, arbitrary: fc.constant('json' as const) }),
    edges: fc.array(
      fc.record({
        to: fc.oneof({ weight: 30, arbitrary: fc.nat(ABSENT - 1) }, { weight: 1, arbitrary: fc.constant(ABSENT) }),
        way: fc.constantFrom(...WAYS),
        caught: fc.boolean(),
      }),
      { maxLength: 4, size: 'max' },
    ),
    names: fc.subarray(['a', 'b', 'live']),
    style: fc.nat(7),
    waits: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    throws: fc.oneof({ weight: 19, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  }),
  { minLength: 1, maxLength: 12, size: 'max' },
);

interface Edge {
  /** Undefined: nothing is there. */
  readonly to: number | undefined;
  readonly way: Way;
  readonly caught: boolean;
}

/** A graph of modules that Node takes, or refuses in a way that does not hang on the moment. */
export interface Graph {
  readonly files: Files;
  /** The order of all that is logged is the same each time; otherwise several modules wait at the same time. */
  readonly exact: boolean;
  /** A module of it waits. */
  readonly waits: boolean;
  /** Pairs of log entries of which the first, where both are there, comes first. */
  readonly before: readonly (readonly [string, string])[];
  /** How often a child may have to ask: for what is loaded by `import()`, and by computed names. What is loaded otherwise is sent ahead. */
  readonly questions: number;
}

interface Module extends Omit<Draft, 'edges'> {
  readonly name: string;
  readonly file: string;
  readonly edges: Edge[];
}

/**
 * Makes a graph of a draft. What it leaves out, and why:
 * - `await import()` of a module that waits for the one that imports it: Node waits for ever.
 * - `require` of an ES module that leads back (ERR_REQUIRE_CYCLE_MODULE), that waits (ERR_REQUIRE_ASYNC_MODULE), or that
 *   may be loading just then by `await import()`: versions of Node differ in what they make of it. The codes have tests of
 *   their own.
 * - errors while several modules wait: it is chance which comes first.
 * - errors in CommonJS modules that are imported: who imports such a module after it has failed gets `undefined` from Node.
 */
export function planGraph(draft: readonly Draft[], key: string): Graph {
  const modules = draft.map((each, index): Module => {
    const name = `m${String(index)}`;
    const edges = each.kind === 'json' ? [] : each.edges.map(({ to, way, caught }) => ({ to: to === ABSENT ? undefined : to % draft.length, way: each.kind === 'cjs' ? inCommonJs(way) : way, caught }));
    return { ...each, name, file: `${name}.${{ cjs: 'cjs', esm: 'mjs', json: 'json' }[each.kind]}`, edges, waits: each.waits && each.kind === 'esm', throws: each.throws && each.kind !== 'json' };
  });
  const reaches = reachability(modules);
  for (const [from, { edges, kind }] of modules.entries()) {
    for (const [at, edge] of edges.entries()) {
      if (edge.to !== undefined && waitsFor(edge.way, kind) && reaches(edge.to, from)) edges[at] = { ...edge, way: 'later' };
    }
  }
  const awaited = modules.flatMap(({ edges, kind }) => edges.filter(({ way }) => waitsFor(way, kind)).flatMap(({ to }) => to ?? []));
  for (const [from, { edges, kind }] of modules.entries()) {
    for (const [at, edge] of edges.entries()) {
      const { to } = edge;
      if (to === undefined || !requires(edge.way, kind) || modules[to]?.kind !== 'esm') continue;
      if (reaches(to, from) || isAsync(modules, to) || awaited.some((each) => reaches(each, to))) edges[at] = { ...edge, way: 'later' };
    }
  }
  const imported = new Set(modules.flatMap(({ edges, kind }) => edges.filter(({ way }) => !requires(way, kind)).flatMap(({ to }) => to ?? [])).concat(0));
  for (const [at, module] of modules.entries()) {
    if (module.kind === 'cjs' && imported.has(at)) modules[at] = { ...module, throws: false, edges: module.edges.map((edge) => ({ ...edge, caught: true })) };
  }
  const asynchronous = modules.filter((each) => each.waits || each.edges.some(({ way }) => waitsFor(way, each.kind))).length;
  const exact = asynchronous < 2;
  const calm = exact ? modules : modules.map((each) => ({ ...each, throws: false, edges: each.edges.map((edge) => ({ ...edge, caught: edge.caught || edge.to === undefined })) }));
  const [entry] = calm;
  if (entry === undefined) throw new Error('a graph has at least one module');
  return {
    files: { 'main.mjs': mainSource(key, entry.file), ...Object.fromEntries(needed(calm).map((each) => [each.file, source(each, calm, key)])) },
    exact,
    waits: asynchronous > 0,
    before: calm.flatMap((each, from) => each.edges.flatMap((edge) => order(each, from, edge, calm, reaches))),
    questions: 1 + calm.flatMap(({ edges }) => edges).filter(({ way }) => way === 'computed' || way === 'await' || way === 'later').length,
  };
}

function inCommonJs(way: Way): Way {
  return way === 'later' || way === 'computed' ? way : 'require';
}

function waitsFor(way: Way, kind: Draft['kind']): boolean {
  return way === 'await' || (way === 'computed' && kind === 'esm');
}

function requires(way: Way, kind: Draft['kind']): boolean {
  return way === 'require' || (way === 'computed' && kind === 'cjs');
}

function isStatic(way: Way): boolean {
  return !['require', 'await', 'computed', 'later'].includes(way);
}

function reachability(modules: readonly Module[]): (from: number, to: number) => boolean {
  const closures = modules.map((_, from) => {
    const seen = new Set([from]);
    for (const at of seen) for (const { to, way } of modules[at]?.edges ?? []) if (to !== undefined && way !== 'later') seen.add(to);
    return seen;
  });
  return (from, to) => closures[from]?.has(to) ?? false;
}

/** Those that the entry leads to: the others would only be in the way of whoever reads a failure. */
function needed(modules: readonly Module[]): Module[] {
  const seen = new Set([0]);
  for (const at of seen) for (const { to } of modules[at]?.edges ?? []) if (to !== undefined) seen.add(to);
  return modules.filter((_, at) => seen.has(at));
}

/** Whether Node refuses to `require` an ES module because it, or what it imports, waits. */
function isAsync(modules: readonly Module[], root: number): boolean {
  const seen = new Set([root]);
  for (const at of seen) {
    const module = modules[at];
    if (module?.kind !== 'esm') continue;
    if (module.waits || module.edges.some(({ way }) => waitsFor(way, 'esm'))) return true;
    for (const { to, way } of module.edges) if (to !== undefined && isStatic(way)) seen.add(to);
  }
  return false;
}

function order(module: Module, from: number, { to, way }: Edge, modules: readonly Module[], reaches: (from: number, to: number) => boolean): (readonly [string, string])[] {
  if (to === undefined || way === 'later' || reaches(to, from) || modules[to]?.kind === 'json') return [];
  return [[`m${String(to)} end`, `${module.name} ${isStatic(way) ? 'start' : 'end'}`]];
}

/** Names that the module itself exports, so that an import of them links. */
function ownNames({ kind, names, style }: Module): string[] {
  if (kind === 'json') return [];
  const all = names.flatMap((name) => (name === 'live' ? ['count', 'bump'] : [name]));
  return kind === 'esm' && hasDefault({ kind, style }) ? [...all, 'default'] : all;
}

function hasDefault({ kind, style }: Pick<Module, 'kind' | 'style'>): boolean {
  return kind !== 'esm' || style % 4 !== 3;
}

function source(module: Module, modules: readonly Module[], key: string): string {
  if (module.kind === 'json') return JSON.stringify({ name: module.name, list: [1, 'two', null] });
  return module.kind === 'cjs' ? commonJs(module, modules, key) : esm(module, modules, key);
}

/** The specifier, the literal of it, and what an import of it needs besides. */
function target(edge: Edge, modules: readonly Module[]): { literal: string; attributes: string; dynamic: string; module: Module | undefined } {
  const module = edge.to === undefined ? undefined : modules[edge.to];
  const literal = `'./${module?.file ?? 'absent.mjs'}'`;
  const json = module?.kind === 'json';
  return { literal, attributes: json ? " with { type: 'json' }" : '', dynamic: json ? ", { with: { type: 'json' } }" : '', module };
}

function thrown({ name, style }: Module): string {
  return [`throw new Error('${name} throws');`, `throw Object.assign(new RangeError('${name} throws'), { code: 'E_${name}' });`, `throw '${name} throws a text';`, `null.${name};`][style % 4] ?? '';
}

function attempt(name: string, edge: Edge, statement: string): string {
  return edge.caught ? `try { ${statement} } catch (error) { g.caught('${name}', error); }` : statement;
}

/** A name that no scan of the source can see. */
function computed(literal: string): string {
  return `g.named(${literal})`;
}

function commonJs(module: Module, modules: readonly Module[], key: string): string {
  const { name, names, style } = module;
  const body = module.edges.map((edge, index) => {
    const { literal, dynamic } = target(edge, modules);
    const id = `${name}.${String(index)}`;
    if (edge.way === 'later') return `g.later('${id}', () => import(${literal}${dynamic}));`;
    return attempt(id, edge, `const i = require(${edge.way === 'computed' ? computed(literal) : literal}); g.see('${id}', () => i);`).replace(/^const.*$/, '{ $& }');
  });
  const values = [...(names.includes('a') ? [['a', `'${name}.a'`]] : []), ...(names.includes('b') ? [['b', `'${name}.b'`]] : []), ...(names.includes('live') ? [['count', '0'], ['bump', '() => { module.exports.count++; }']] : [])];
  let exporting = values.map(([each, value]) => `exports.${each ?? ''} = ${value ?? ''};`);
  if (style % 4 === 1) exporting = [...values.map(([each, value]) => `const ${each ?? ''} = ${value ?? ''};`), `module.exports = { ${values.map(([each]) => each ?? '').join(', ')} };`];
  if (style % 4 === 2) exporting = ["Object.defineProperty(exports, '__esModule', { value: true });", `exports.default = '${name}.default';`, ...exporting];
  const first = style < 4;
  return lines(
    `const g = globalThis[${JSON.stringify(key)}];`,
    `g.log('${name} start');`,
    ...(first ? exporting : []),
    ...body,
    ...(module.throws ? [thrown(module)] : []),
    ...(first ? [] : exporting),
    `g.log('${name} end');`,
  );
}

function esm(module: Module, modules: readonly Module[], key: string): string {
  const { name, names, style } = module;
  const head: string[] = [];
  const body: string[] = [];
  let required = false;
  for (const [index, edge] of module.edges.entries()) {
    const { literal, attributes, dynamic, module: other } = target(edge, modules);
    const id = `${name}.${String(index)}`;
    const local = `i${String(index)}`;
    const wanted = other === undefined ? [] : ownNames(other);
    const see = (text: string): void => {
      body.push(`g.see('${id}', () => ${text});`);
    };
    let { way } = edge;
    if (isStatic(way) && other?.kind === 'json') way = 'default';
    if ((way === 'default' && other !== undefined && !hasDefault(other)) || ((way === 'named' || way === 'reexport') && wanted.length === 0)) way = 'namespace';
    switch (way) {
      case 'default':
        head.push(`import ${local} from ${literal}${attributes};`);
        see(local);
        break;
      case 'named':
        head.push(`import { ${wanted.map((each) => `${each} as ${local}${each}`).join(', ')} } from ${literal};`);
        for (const each of wanted) see(`${local}${each}`);
        if (wanted.includes('bump')) see(`[${local}bump(), ${local}count]`);
        break;
      case 'namespace':
        head.push(`import * as ${local} from ${literal}${attributes};`);
        see(local);
        break;
      case 'bare':
        head.push(`import ${literal};`);
        break;
      case 'star':
        head.push(`export * from ${literal};`);
        break;
      case 'reexport':
        head.push(`export { ${wanted.map((each) => `${each} as ${each}${name}${local}`).join(', ')} } from ${literal};`);
        break;
      case 'starAs':
        head.push(`export * as s${name}${local} from ${literal};`);
        break;
      case 'require':
        required = true;
        body.push(attempt(id, edge, `const i = require(${literal}); g.see('${id}', () => i);`).replace(/^const.*$/, '{ $& }'));
        break;
      case 'later':
        body.push(`g.later('${id}', () => import(${literal}${dynamic}));`);
        break;
      default:
        body.push(attempt(id, edge, `const i = await g.awaiting(import(${way === 'computed' ? computed(literal) : literal}${dynamic})); g.see('${id}', () => i);`).replace(/^const.*$/, '{ $& }'));
    }
  }
  return lines(
    ...(required ? ["import { createRequire } from 'node:module';"] : []),
    ...head,
    `const g = globalThis[${JSON.stringify(key)}];`,
    ...(required ? ['const require = createRequire(import.meta.url);'] : []),
    `g.log('${name} start');`,
    ...(names.includes('a') ? [`export const a = '${name}.a';`] : []),
    ...(names.includes('live') ? ['export let count = 0;', 'export function bump() { count++; }'] : []),
    ...(module.waits ? [style < 4 ? 'await g.awaiting(null);' : 'await g.awaiting(new Promise((resolve) => setImmediate(resolve)));'] : []),
    ...body,
    ...(module.throws ? [thrown(module)] : []),
    ...(names.includes('b') ? [`export const b = '${name}.b';`] : []),
    ...(hasDefault(module) ? [style % 4 === 1 ? `export default function ${name}() { return '${name}'; }` : `export default '${name}.default';`] : []),
    `g.log('${name} end');`,
  );
}

function lines(...all: readonly string[]): string {
  return `${all.join('\n')}\n`;
}

/** How an error is shown that Node throws at itself. */
const DEFECT = 'inside of Node';

/** Evaluates the entry and what was put off, and tells what happened. */
function mainSource(key: string, entry: string): string {
  return lines(
    `const KEY = ${JSON.stringify(key)};`,
    // Of a module that fails, Node rejects promises of its own that nobody can hold.
    "if (process.listenerCount('unhandledRejection') === 0) process.on('unhandledRejection', () => undefined);",
    'const read = (get) => { try { return show(get()); } catch (error) { return `! ${error.name}`; } };',
    'let depth = 0;',
    'function show(value) {',
    "  if (typeof value === 'function') return 'function';",
    "  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined';",
    "  if (depth > 2) return '...';",
    '  depth++;',
    "  const keys = Reflect.ownKeys(value).filter((each) => typeof each === 'string').sort();",
    '  const text = `${value[Symbol.toStringTag] ?? (Array.isArray(value) ? "Array" : "")}{${keys.map((each) => `${each}: ${read(() => value[each])}`).join(", ")}}`;',
    '  depth--;',
    '  return text;',
    '}',
    // A TypeError without a code that was thrown inside of Node is a defect of Node's.
    `const inside = (error) => error.name === 'TypeError' && error.code === undefined && /^ +at .*\\(?node:internal/.test(error.stack?.split('\\n').find((line) => line.startsWith('    at ')) ?? '') && '${DEFECT}';`,
    "const shown = (error) => (typeof error === 'object' ? `${error.name} ${error.code ?? (inside(error) || (/throws/.test(error.message) ? error.message : ''))}` : String(error));",
    'export async function run() {',
    '  const log = [], put = [];',
    '  let open = 0;',
    '  globalThis[KEY] = {',
    '    log: (text) => log.push(text),',
    '    see: (id, get) => log.push(`${id} sees ${read(get)}`),',
    '    caught: (id, error) => log.push(`${id} caught ${shown(error)}`),',
    '    later: (id, go) => put.push([id, go]),',
    '    named: (name) => name,',
    '    awaiting: (promise) => { open++; return Promise.resolve(promise).finally(() => { open--; }); },',
    '  };',
    '  const settled = async () => { for (let calm = 0; calm < 3; calm = open === 0 ? calm + 1 : 0) await new Promise((resolve) => setImmediate(resolve)); };',
    '  let outcome;',
    '  try {',
    `    outcome = show(await import('./${entry}'${entry.endsWith('.json') ? ", { with: { type: 'json' } }" : ''}));`,
    '  } catch (error) {',
    '    outcome = `! ${shown(error)}`;',
    '  }',
    '  await settled();',
    '  for (const [id, go] of put) {',
    '    try {',
    '      log.push(`${id} later ${show(await go())}`);',
    '    } catch (error) {',
    '      log.push(`${id} later ! ${shown(error)}`);',
    '    }',
    '    await settled();',
    '  }',
    '  delete globalThis[KEY];',
    '  return { log, outcome };',
    '}',
  );
}

/** What the evaluation of a graph came to. */
export interface Evaluation {
  readonly log: readonly string[];
  readonly outcome: string;
}

const ORACLE = `
require('readline').createInterface({ input: process.stdin }).on('line', async (url) => {
  const print = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
  (await import(url)).run().then(print, (error) => print({ log: [], outcome: 'the oracle failed: ' + (error?.stack ?? error) }));
});
`;

/** A plain Node that evaluates one graph after another. */
export class Oracle {
  #node: ChildProcess;
  #exit: Promise<unknown>;
  #answers: AsyncIterator<string>;

  constructor() {
    [this.#node, this.#exit, this.#answers] = this.#start();
  }

  /** @returns undefined for one of the rare graphs of which Node itself dies, by a failed check of its engine */
  async run(main: string): Promise<Evaluation | undefined> {
    this.#node.stdin?.write(`${pathToFileURL(main).href}\n`);
    const answer = await this.#answers.next();
    if (answer.done !== true) return JSON.parse(answer.value) as Evaluation;
    await this.#exit;
    const { exitCode, signalCode } = this.#node;
    if (signalCode !== 'SIGTRAP' && signalCode !== 'SIGABRT') throw new Error(`the oracle has ended: ${String(signalCode ?? exitCode)}`);
    [this.#node, this.#exit, this.#answers] = this.#start();
    return undefined;
  }

  async end(): Promise<void> {
    this.#node.stdin?.end();
    await this.#exit;
  }

  #start(): [ChildProcess, Promise<unknown>, AsyncIterator<string>] {
    const node = spawn(process.execPath, ['--no-warnings', '-e', ORACLE], { stdio: ['pipe', 'pipe', 'ignore'] });
    return [node, once(node, 'exit'), createInterface({ input: node.stdout })[Symbol.asyncIterator]()];
  }
}

/**
 * Where a module waits while another fails, how many turns of the microtask queue pass before `import()` tells is a matter
 * of the loader, and not the same in all versions of Node. What runs in which order is the engine's, and is compared.
 */
function lateFailuresLast({ log, outcome }: Evaluation): Evaluation {
  const late = (line: string): boolean => line.includes(' later ! ');
  return { log: [...log.filter((line) => !late(line)), ...log.filter(late)], outcome };
}

/** How two evaluations of a graph differ, as lines; none when they are equal. */
export function differences(graph: Graph, expected: Evaluation, actual: Evaluation): string[] {
  const found: string[] = [];
  // A defect of Node (a module that failed, and is required again; one that is required while it is imported): nobody has
  // to repeat it.
  if ([expected.outcome, ...expected.log].some((line) => line.includes('ERR_INTERNAL_ASSERTION') || line.includes(DEFECT))) return found;
  if (graph.exact) {
    if (graph.waits) [expected, actual] = [lateFailuresLast(expected), lateFailuresLast(actual)];
    if (expected.outcome !== actual.outcome) found.push(`outcome: expected ${expected.outcome}`, `          but got ${actual.outcome}`);
    const length = Math.max(expected.log.length, actual.log.length);
    for (let at = 0; at < length; at++) if (expected.log[at] !== actual.log[at]) found.push(`log ${String(at)}: expected ${expected.log[at] ?? 'nothing'}`, `       but got ${actual.log[at] ?? 'nothing'}`);
    return found;
  }
  const evaluated = ({ log }: Evaluation): string[] => log.filter((line) => / (?:start|end)$/.test(line));
  if (evaluated(expected).sort().join() !== evaluated(actual).sort().join()) found.push(`evaluated: expected ${evaluated(expected).join()}`, `           but got ${evaluated(actual).join()}`);
  for (const [first, second] of graph.before) {
    for (const [who, { log }] of [['the oracle', expected], ['the child', actual]] as const) {
      const [a, b] = [log.indexOf(first), log.indexOf(second)];
      if (a >= 0 && b >= 0 && a > b) found.push(`in ${who}, "${first}" comes after "${second}"`);
    }
  }
  return found;
}

/** The files of a graph for a person. */
export function printed({ files }: Graph): string {
  return Object.entries(files).filter(([name]) => name !== 'main.mjs').map(([name, content]) => `--- ${name}\n${String(content)}`).join('');
}
