import type { ModuleFormat } from '../core/importer/records.ts';

const [major = 0] = process.versions.node.split('.').map(Number);

/** Since when `import` of CommonJS has the name `module.exports`. */
export const exposesModuleExports: boolean = major >= 23;

/** Node 20 has the words of an older proposal. */
function attributeError(what: 'MISSING' | 'FAILED' | 'UNSUPPORTED', message: string): Error {
  const codes = major < 21 ? { MISSING: 'ERR_IMPORT_ASSERTION_TYPE_MISSING', FAILED: 'ERR_IMPORT_ASSERTION_TYPE_FAILED', UNSUPPORTED: 'ERR_IMPORT_ASSERTION_TYPE_UNSUPPORTED' } : { MISSING: 'ERR_IMPORT_ATTRIBUTE_MISSING', FAILED: 'ERR_IMPORT_ATTRIBUTE_TYPE_INCOMPATIBLE', UNSUPPORTED: 'ERR_IMPORT_ATTRIBUTE_UNSUPPORTED' };
  return Object.assign(new TypeError(message), { code: codes[what] });
}

/** Throws what Node throws for a missing or wrong attribute of an import (its documentation of ES modules, "Import attributes"). */
export function checkAttribute(url: string, format: ModuleFormat, type: string | undefined | null): void {
  if (type == null) {
    if (format === 'json') throw attributeError('MISSING', `Module "${url}" needs an import attribute of "type: json"`);
  } else if (type !== 'json') throw attributeError('UNSUPPORTED', `Import attribute "type" with value "${type}" is not supported`);
  else if (format !== 'json') throw attributeError('FAILED', `Module "${url}" is not of type "json"`);
}

/** Throws what Node throws for `import` of a file of no known kind, which `require` takes for JavaScript. */
export function checkExtension(path: string, format: ModuleFormat): void {
  const extension = /[^/](\.[^./]*)$/.exec(path)?.[1];
  if (format !== 'commonjs' || extension === undefined || /^\.(?:[cm]?[jt]sx?|json|wasm|node)$/.test(extension)) return;
  throw Object.assign(new TypeError(`Unknown file extension "${extension}" for ${path}`), { code: 'ERR_UNKNOWN_FILE_EXTENSION' });
}
