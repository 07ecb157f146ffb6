import module from 'node:module';
import { parse } from 'es-module-lexer';
import { transform } from 'sucrase';

/** Whether a file is TypeScript, by its extension. */
export function isTypeScript(path: string): boolean {
  return /\.[cm]?tsx?$/.test(path);
}

/** tsx drops imports of which only types are used, and makes CommonJS of ES syntax where the package says so; Node does not. */
const runByTsx = /\btsx\b/.test([...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].join(' '));

type Strip = (source: string) => string;

const { stripTypeScriptTypes: strip } = module as unknown as { readonly stripTypeScriptTypes?: Strip };

/** Silences nothing but the warning of Node's own stripper that it is experimental. */
function stripQuietly(source: string): string | undefined {
  if (strip === undefined || runByTsx) return undefined;
  const emitWarning = process.emitWarning.bind(process);
  process.emitWarning = () => undefined;
  try {
    return strip(source);
  } catch (error) {
    // Syntax that is more than types needs a transformation, and a mistake is found by that too.
    if ((error as { code?: string }).code?.startsWith('ERR_') !== true) throw error;
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** TypeScript as JavaScript, every line where it was. Node's stripper where it is there, which keeps the columns too. */
export function stripTypes(path: string, source: string): string {
  const jsx = path.endsWith('x');
  return (jsx ? undefined : stripQuietly(source)) ?? transform(source, { transforms: jsx ? ['typescript', 'jsx'] : ['typescript'], filePath: path, disableESTransforms: true, keepUnusedImports: !runByTsx, preserveDynamicImport: true }).code;
}

/** Whether TypeScript with ES syntax in a package that is not of type `module` runs as CommonJS here. */
export const typescriptAsCommonJs: boolean = runByTsx;

/** What tsx makes of `import.meta` in CommonJS. */
const META = "({url:require('node:url').pathToFileURL(__filename).href,filename:__filename,dirname:__dirname})";

/** ES syntax as CommonJS, as tsx does for packages of type CommonJS. */
export function toCommonJs(path: string, source: string): string {
  let plain = '';
  let at = 0;
  for (const { type, start, end } of source.includes('import.meta') ? parse(source)[0] : []) {
    if (type !== 'import-meta') continue;
    plain += source.slice(at, start) + META;
    at = end;
  }
  return transform(plain + source.slice(at), { transforms: ['imports'], filePath: path, disableESTransforms: true, preserveDynamicImport: true }).code;
}
