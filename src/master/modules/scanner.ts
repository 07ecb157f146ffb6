import { parse as parseCommonJs } from 'cjs-module-lexer';
import { parse as parseEsm } from 'es-module-lexer';

const LITERAL = '\\(\\s*(?:\'([^\'\\\\\\n]+)\'|"([^"\\\\\\n]+)"|`([^`\\\\$\\n]+)`)\\s*\\)';
const CALL = '(?:\\.resolve)?';
const REQUIRES = new RegExp(`\\b(?:__)?require${CALL}${LITERAL}`, 'g');
/** `createRequire(import.meta.url)('x')` */
const MADE = new RegExp(`\\bcreateRequire\\([^()]*\\)${CALL}${LITERAL}`, 'g');
/** Names of what `createRequire` gives. */
const MAKERS = /([\w$]+)\s*=\s*(?:[\w$]+\.)?createRequire\(/g;

/** What a source names. */
export interface Scan {
  /** Specifiers of `require()` and `require.resolve()`. */
  readonly requires: readonly string[];
  /** Specifiers of static imports and re-exports, in their order. */
  readonly imports: readonly string[];
  /** Specifiers of `import()`; they are not sent ahead, because they are written to be late. */
  readonly dynamic: readonly string[];
  /** Where `import()` begins, for the rendering. */
  readonly dynamicAt: readonly number[];
}

/** Whether a source can only be an ES module. */
export function hasModuleSyntax(source: string): boolean {
  try {
    return parseEsm(source)[3];
  } catch {
    return false;
  }
}

function requiresOf(source: string): string[] {
  const patterns = [REQUIRES];
  if (source.includes('createRequire')) {
    patterns.push(MADE);
    const names = new Set([...source.matchAll(MAKERS)].map(([, name = '']) => name));
    for (const name of names) if (!/^(?:__)?require$/.test(name)) patterns.push(new RegExp(`(?<![\\w$.])${name.replaceAll('$', '\\$')}${CALL}${LITERAL}`, 'g'));
  }
  return [...new Set(patterns.flatMap((pattern) => [...source.matchAll(pattern)].map(([, single, double, back]) => single ?? double ?? back ?? '')))];
}

/** The specifiers of a source. A lexer finds them, so some may be in comments; those cost a look-up and nothing else. */
export function scan(source: string, esm: boolean): Scan {
  const imports = new Set<string>();
  const dynamic = new Set<string>();
  const dynamicAt: number[] = [];
  if (esm || source.includes('import')) {
    try {
      for (const found of parseEsm(source)[0]) {
        if (found.type === 'import-meta' || found.specifier === undefined) {
          if (found.type === 'dynamic') dynamicAt.push(found.importStart);
          continue;
        }
        if (found.type === 'dynamic') {
          dynamicAt.push(found.importStart);
          if (!found.glob) dynamic.add(found.specifier);
        } else imports.add(found.specifier);
      }
    } catch {
      // What does not parse has nothing to name; the child's engine says where.
    }
  }
  // In an ES module `require` comes from createRequire, and is otherwise a word like others.
  const requires = !esm || source.includes('createRequire') ? requiresOf(source) : [];
  return { requires, imports: [...imports], dynamic: [...dynamic].filter((specifier) => !imports.has(specifier)), dynamicAt };
}

/** The names that a CommonJS source exports as Node sees them, and the specifiers whose names it passes on. */
export function commonJsNames(source: string): { readonly names: readonly string[]; readonly from: readonly string[] } {
  try {
    const { exports, reexports } = parseCommonJs(source);
    return { names: exports, from: reexports };
  } catch {
    return { names: [], from: [] };
  }
}
