import { parse } from 'es-module-lexer';
import { transform } from 'sucrase';

/** Whether a file is TypeScript, by its extension. */
export function isTypeScript(path: string): boolean {
  return /\.[cm]?tsx?$/.test(path);
}

/** `import.meta` has no meaning in CommonJS; the child passes an object in its place. */
function replaceImportMeta(source: string): string {
  if (!source.includes('import.meta')) return source;
  let replaced = '';
  let at = 0;
  for (const { type, start, end } of parse(source)[0]) {
    if (type !== 'import-meta') continue;
    replaced += `${source.slice(at, start)}__tendrilMeta`;
    at = end;
  }
  return replaced + source.slice(at);
}

/** Sources of modules as CommonJS, with every line where it was. */
export const toCommonJs = {
  /** Removes types only. */
  stripTypes(path: string, source: string): string {
    return transform(source, { transforms: ['typescript'], filePath: path, disableESTransforms: true, keepUnusedImports: true }).code;
  },

  /** A module of any kind as CommonJS. */
  module(path: string, source: string, esm: boolean): string {
    if (path.endsWith('.json')) return source;
    const plain = isTypeScript(path) ? toCommonJs.stripTypes(path, source) : source.replace(/^#!/, '//');
    if (!esm) return plain;
    return transform(replaceImportMeta(plain), { transforms: ['imports'], filePath: path, disableESTransforms: true }).code;
  },
};
