import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'es-module-lexer';

/** TypeScript lets a specifier name the file that the compiler would write. */
const COMPILED: readonly (readonly [written: RegExp, sources: readonly string[]])[] = [
  [/\.js$/, ['.ts', '.tsx']],
  [/\.mjs$/, ['.mts']],
  [/\.cjs$/, ['.cts']],
  [/$/, ['.ts', '.js', '/index.ts', '/index.js']],
];

/** The path of a file that the engine, a stack or a user names by path or URL; undefined for what is not a file. */
export function pathOf(name: string): string | undefined {
  try {
    if (name.startsWith('file:')) return fileURLToPath(name.replace(/[?#].*/s, ''));
  } catch {
    return undefined;
  }
  return isAbsolute(name) ? name.replace(/\?.*/s, '') : undefined;
}

/** The file itself, behind symbolic links; the same path where there is no such file. */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** How modules are named between contexts: the URL of the real file. */
export function moduleOf(path: string): string {
  return pathToFileURL(realPath(path)).href;
}

/** The source that is meant by the name of a file, which may be the name of what will be compiled from it. */
export function sourceFile(path: string): string | undefined {
  if (existsSync(path)) return path;
  for (const [written, sources] of COMPILED) {
    const found = written.test(path) && sources.map((extension) => path.replace(written, extension)).find((candidate) => existsSync(candidate));
    if (found) return found;
  }
  return undefined;
}

type Lexed = ReturnType<typeof parse>;
const lexed = new Map<string, Lexed | undefined>();

/** Imports and exports of a file as it is on disk; undefined when it cannot be read. */
export function lexFile(path: string): Lexed | undefined {
  if (!lexed.has(path)) lexed.set(path, lex(read(path)));
  return lexed.get(path);
}

/** Imports and exports of a source text. */
export function lex(source: string | undefined): Lexed | undefined {
  try {
    return source === undefined ? undefined : parse(source);
  } catch {
    return undefined;
  }
}

/** Text of a file; undefined when it cannot be read. */
export function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** The file that a specifier in a file leads to. A guess is enough: what it leads to is compared by identity. */
export function importedFile(specifier: string, from: string): string | undefined {
  if (/^\.{0,2}\//.test(specifier) || specifier.startsWith('file:')) {
    const path = sourceFile(pathOf(specifier) ?? resolve(dirname(from), specifier));
    return path === undefined ? undefined : realPath(path);
  }
  try {
    const path = createRequire(from).resolve(specifier);
    return isAbsolute(path) ? path : undefined;
  } catch {
    return undefined;
  }
}
