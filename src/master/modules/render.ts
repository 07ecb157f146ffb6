import { parse } from 'acorn';
import type { Node, Program } from 'acorn';
import { analyze } from 'eslint-scope';
import { messageOf } from '../../core/errors.ts';
import type { ModuleLink } from '../../core/importer/records.ts';

/** A node of any kind; the walk looks at all properties. */
type AnyNode = Node & Readonly<Record<string, unknown>>;

/** A change of the source: what stands from `start` to `end` becomes `text`. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** An ES module as a function, for children whose loader takes no ES modules from us. */
export interface Rendering {
  readonly source: string;
  readonly link: ModuleLink;
}

/** What the walk over the syntax tree finds. */
interface Findings {
  readonly edits: Edit[];
  /** Where an identifier is called, or is the tag of a template: there it must not become a method call. */
  readonly called: Set<number>;
  readonly shorthand: Set<number>;
  /** A direct `eval`, which sees local names as they are written. */
  evaluates: boolean;
  /** Statements of lists begin here; a parenthesis there would continue the line before. */
  readonly statements: Set<number>;
  async: boolean;
}

/** The same text as blanks, so that lines and columns stay; the semicolon ends what a line before may have left open. */
function blank(text: string): string {
  return `;${text.slice(1).replace(/[^\n\r\u2028\u2029]/g, ' ')}`;
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

function addIdentifier(node: Node, starts: Set<number>): void {
  if (node.type === 'Identifier') starts.add(node.start);
}

function walk(node: AnyNode, inFunction: boolean, found: Findings): void {
  switch (node.type) {
    case 'CallExpression':
      addIdentifier(node['callee'] as Node, found.called);
      if ((node['callee'] as { name?: string }).name === 'eval') found.evaluates = true;
      break;
    case 'TaggedTemplateExpression':
      addIdentifier(node['tag'] as Node, found.called);
      break;
    case 'Property':
      if (node['shorthand'] === true && (node['value'] as Node).type === 'Identifier') found.shorthand.add(node.start);
      break;
    case 'Program':
    case 'BlockStatement':
    case 'StaticBlock':
      for (const statement of node['body'] as Node[]) found.statements.add(statement.start);
      break;
    case 'SwitchCase':
      for (const statement of node['consequent'] as Node[]) found.statements.add(statement.start);
      break;
    case 'MetaProperty':
      if ((node['meta'] as { name?: string }).name === 'import') found.edits.push({ start: node.start, end: node.end, text: '$tndrl_meta' });
      break;
    case 'ImportExpression':
      found.edits.push({ start: node.start, end: node.start + 6, text: '$tndrl' });
      break;
    case 'AwaitExpression':
      if (!inFunction) found.async = true;
      break;
    case 'ForOfStatement':
      if (!inFunction && node['await'] === true) found.async = true;
      break;
    case 'VariableDeclaration':
      if (!inFunction && node['kind'] === 'await using') found.async = true;
      break;
    default:
  }
  const inside = inFunction || node.type.includes('Function');
  for (const value of Object.values(node)) {
    if (Array.isArray(value)) {
      for (const item of value) if (isNode(item)) walk(item, inside, found);
    } else if (isNode(value)) walk(value, inside, found);
  }
}

const nameOf = (node: { name?: unknown; value?: unknown }): string => String(node.name ?? node.value);

/** Names that a pattern binds. */
function bound(pattern: AnyNode | null, into: string[]): void {
  if (pattern === null) return;
  switch (pattern.type) {
    case 'Identifier':
      into.push(pattern['name'] as string);
      break;
    case 'ObjectPattern':
      for (const property of pattern['properties'] as AnyNode[]) bound((property.type === 'RestElement' ? property['argument'] : property['value']) as AnyNode, into);
      break;
    case 'ArrayPattern':
      for (const element of pattern['elements'] as (AnyNode | null)[]) bound(element, into);
      break;
    case 'AssignmentPattern':
      bound(pattern['left'] as AnyNode, into);
      break;
    case 'RestElement':
      bound(pattern['argument'] as AnyNode, into);
      break;
    default:
  }
}

/** The statements of a module that import and export, taken out of its source and put down as data. */
class Statements {
  readonly edits: Edit[] = [];
  readonly imports: [specifier: string, names: string[], type: string | null][] = [];
  readonly reexports: [name: string, index: number, imported: string | null][] = [];
  readonly stars: number[] = [];
  /** Expressions by exported name. */
  readonly bindings = new Map<string, string>();
  /** Import and imported name (null: namespace) by local name. */
  readonly local = new Map<string, readonly [index: number, imported: string | null]>();
  /** Where local names stand in statements that are taken out. */
  readonly taken = new Set<number>();
  /** A function without a name that is the default export. */
  unnamed = false;
  readonly #source: string;
  readonly #exported: [local: string, exported: string][] = [];

  constructor(source: string, program: Program) {
    this.#source = source;
    for (const statement of program.body) this.#take(statement as unknown as AnyNode);
    for (const [local, exported] of this.#exported) {
      const imported = this.local.get(local);
      if (imported) this.reexports.push([exported, ...imported]);
      else this.bindings.set(exported, local);
    }
  }

  #take(node: AnyNode): void {
    switch (node.type) {
      case 'ImportDeclaration': {
        const index = this.#import(node);
        for (const specifier of node['specifiers'] as AnyNode[]) {
          const imported = specifier.type === 'ImportNamespaceSpecifier' ? null : specifier.type === 'ImportDefaultSpecifier' ? 'default' : nameOf(specifier['imported'] as object);
          this.local.set(nameOf(specifier['local'] as object), [index, imported]);
          this.#wants(index, imported);
        }
        this.#remove(node);
        break;
      }
      case 'ExportAllDeclaration': {
        const index = this.#import(node);
        if (node['exported'] === null) this.stars.push(index);
        else this.reexports.push([nameOf(node['exported'] as object), index, null]);
        this.#remove(node);
        break;
      }
      case 'ExportNamedDeclaration':
        this.#named(node);
        break;
      case 'ExportDefaultDeclaration':
        this.#default(node);
        break;
      default:
    }
  }

  #named(node: AnyNode): void {
    const declaration = node['declaration'] as AnyNode | null;
    const specifiers = node['specifiers'] as AnyNode[];
    if (declaration) {
      const names: string[] = [];
      if (declaration.type === 'VariableDeclaration') for (const declarator of declaration['declarations'] as AnyNode[]) bound(declarator['id'] as AnyNode, names);
      else bound(declaration['id'] as AnyNode, names);
      for (const name of names) this.bindings.set(name, name);
      this.edits.push({ start: node.start, end: node.start + 6, text: ';     ' });
      return;
    }
    if (node['source']) {
      const index = this.#import(node);
      for (const specifier of specifiers) {
        const imported = nameOf(specifier['local'] as object);
        this.reexports.push([nameOf(specifier['exported'] as object), index, imported]);
        this.#wants(index, imported);
      }
    } else {
      for (const specifier of specifiers) {
        this.taken.add((specifier['local'] as Node).start);
        this.#exported.push([nameOf(specifier['local'] as object), nameOf(specifier['exported'] as object)]);
      }
    }
    this.#remove(node);
  }

  #default(node: AnyNode): void {
    const declaration = node['declaration'] as AnyNode;
    const keyword = /^export\s+default/.exec(this.#source.slice(node.start)) ?? ['export default'];
    const end = node.start + keyword[0].length;
    const id = declaration['id'] as { name: string } | null | undefined;
    const declares = declaration.type === 'FunctionDeclaration' || declaration.type === 'ClassDeclaration';
    if (declares && id) {
      this.bindings.set('default', id.name);
      this.edits.push({ start: node.start, end, text: blank(keyword[0]) });
      return;
    }
    this.bindings.set('default', '$tndrl_default');
    if (declaration.type === 'FunctionDeclaration') {
      const head = /^(?:async\s+)?function\s*\*?/.exec(this.#source.slice(declaration.start)) ?? ['function'];
      const at = declaration.start + head[0].length;
      this.unnamed = true;
      this.edits.push({ start: node.start, end, text: blank(keyword[0]) }, { start: at, end: at, text: ' $tndrl_default' });
      return;
    }
    // A property gives its name to a function or class that has none: `default`, as in Node.
    const last = this.#source[node.end - 1] === ';' ? node.end - 1 : node.end;
    this.edits.push({ start: node.start, end, text: `;const $tndrl_default={default:${keyword[0].replace(/[^\n\r]/g, '')}` }, { start: last, end: last, text: '}.default;' });
  }

  #remove(node: Node): void {
    this.edits.push({ start: node.start, end: node.end, text: blank(this.#source.slice(node.start, node.end)) });
  }

  #import(node: AnyNode): number {
    const specifier = String((node['source'] as { value: unknown }).value);
    const attribute = ((node['attributes'] ?? []) as AnyNode[]).find(({ key }) => nameOf(key as object) === 'type');
    const type = attribute === undefined ? null : nameOf(attribute['value'] as object);
    const known = this.imports.findIndex(([other, , otherType]) => other === specifier && otherType === type);
    return known >= 0 ? known : this.imports.push([specifier, [], type]) - 1;
  }

  #wants(index: number, imported: string | null): void {
    const names = this.imports[index]?.[1];
    if (imported !== null && names && !names.includes(imported)) names.push(imported);
  }
}

const OPTIONS = { ecmaVersion: 'latest', sourceType: 'module', ranges: true, allowHashBang: true } as const;

/** What is wrong with the syntax of an ES module, and where; nothing where it uses what the parser may not know yet. */
export function syntaxFault(source: string): string | undefined {
  try {
    parse(source, OPTIONS);
    return undefined;
  } catch (error) {
    return /@\w|\bimport\s+(?:defer|source)\b|\bimport\.(?:defer|source)\b/.test(source) ? undefined : messageOf(error);
  }
}

/**
 * Renders an ES module as the body of a function that makes a generator: its first step declares the exports, when all
 * functions of the module are there, the second runs the module. Imported names become properties of namespaces. Lines
 * stay where they are. Throws a SyntaxError.
 */
export function render(source: string): Rendering {
  const program = parse(source, OPTIONS);
  const found: Findings = { edits: [], called: new Set(), shorthand: new Set(), statements: new Set(), evaluates: false, async: false };
  walk(program as unknown as AnyNode, false, found);
  const statements = new Statements(source, program);
  const edits = [...found.edits, ...statements.edits, ...(statements.local.size > 0 ? references(program, statements, found) : [])];
  const bindings = [...statements.bindings].map(([name, expression]) => `${JSON.stringify(name)}:()=>${expression}`);
  const named = statements.unnamed ? "Object.defineProperty($tndrl_default,'name',{value:'default',configurable:true});" : '';
  const seen = found.evaluates ? [...statements.local].map(([name, imported]) => `const ${name}=${replacement(...imported)};`).join('') : '';
  const head = `'use strict';return ${found.async ? 'async ' : ''}function*(){$tndrl_exports({${bindings.join(',')}});${named}yield;${seen}`;
  const { imports, reexports, stars } = statements;
  return { source: `${head}${apply(source, edits).replace(/^#!/, '//')}\n}`, link: { imports, reexports, stars, async: found.async } };
}

/** Where imported names are used. */
function references(program: Program, { local, taken }: Statements, found: Findings): Edit[] {
  const scopes = analyze(program as never, { ecmaVersion: 2025, sourceType: 'module' });
  const edits: Edit[] = [];
  for (const variable of scopes.globalScope?.childScopes[0]?.variables ?? []) {
    const imported = local.get(variable.name);
    if (imported === undefined || variable.defs[0]?.type !== 'ImportBinding') continue;
    const text = replacement(...imported);
    for (const { identifier } of variable.references) {
      const [start, end] = (identifier as unknown as { range: [number, number] }).range;
      if (taken.has(start)) continue;
      if (found.shorthand.has(start)) edits.push({ start: end, end, text: `:${text}` });
      else if (found.called.has(start) && imported[1] !== null) edits.push({ start, end, text: `${found.statements.has(start) ? ';' : ''}(0,${text})` });
      else edits.push({ start, end, text });
    }
  }
  return edits;
}

function replacement(index: number, imported: string | null): string {
  const namespace = `$tndrl_${String(index)}`;
  if (imported === null) return namespace;
  return /^[\w$]+$/.test(imported) ? `${namespace}.${imported}` : `${namespace}[${JSON.stringify(imported)}]`;
}

function apply(source: string, edits: Edit[]): string {
  let result = '';
  let at = 0;
  for (const { start, end, text } of edits.sort((a, b) => a.start - b.start || a.end - b.end)) {
    result += source.slice(at, start) + text;
    at = end;
  }
  return result + source.slice(at);
}

/** `import()` in CommonJS becomes a function that the child's linker gives. */
export function renderDynamicImports(source: string, at: readonly number[]): string {
  return apply(source, at.map((start) => ({ start, end: start + 6, text: '$tndrl' })));
}
