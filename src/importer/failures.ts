import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Target } from '../core/importer/records.ts';
import { withoutQuery } from './ids.ts';

/** Codes that a target can have, and what they say; those of Node are worded as Node words them. */
function reason(code: string, specifier: string, from: string): string {
  switch (code) {
    case 'ERR_PACKAGE_PATH_NOT_EXPORTED':
      return `Package subpath of '${specifier}' is not defined by "exports" in its package.json, imported from ${from}`;
    case 'ERR_PACKAGE_IMPORT_NOT_DEFINED':
      return `Package import specifier "${specifier}" is not defined in the package.json of ${from}`;
    case 'ERR_UNSUPPORTED_DIR_IMPORT':
      return `Directory import '${specifier}' is not supported resolving ES modules imported from ${from}`;
    case 'ERR_INVALID_MODULE_SPECIFIER':
      return `Invalid module "${specifier}" imported from ${from}`;
    case 'ERR_INVALID_PACKAGE_CONFIG':
      return `Invalid package.json of '${specifier}', imported from ${from}`;
    default:
      return `Cannot resolve '${specifier}', imported from ${from} (${code})`;
  }
}

/** Frames of a stack, as Node has them by default. */
const FRAMES = 10;

/** The error for a specifier that stands for nothing, with the code that Node gives it, and a stack that shows who asked. */
export function notFound(kind: 'require' | 'import', specifier: string, from: string, target: Target, own: (code: string, message: string) => Error): Error {
  const { stackTraceLimit } = Error;
  // Between the user and us are more frames of Node's hooks than a stack usually has.
  Error.stackTraceLimit = 50;
  const error = failure(kind, specifier, from, target, own);
  const stack = error.stack ?? '';
  Error.stackTraceLimit = stackTraceLimit;
  const at = stack.indexOf('\n    at ');
  if (at < 0) return error;
  const frames = stack.slice(at + 1).split('\n').filter((frame) => !/tendril-importer|\(?node:internal\/modules/.test(frame));
  error.stack = [stack.slice(0, at), ...frames.slice(0, FRAMES)].join('\n');
  return error;
}

function failure(kind: 'require' | 'import', specifier: string, from: string, target: Target, own: (code: string, message: string) => Error): Error {
  if (target !== null) {
    const [, code = '', detail = ''] = /^!(\w*) ?(.*)$/s.exec(target) ?? [];
    if (code === '') return new URIError('URI malformed');
    if (code === 'ERR_UNSUPPORTED_RESOLVE_REQUEST') return Object.assign(new TypeError(`Failed to resolve module specifier "${specifier}" from "${from}": Invalid relative URL or base scheme is not hierarchical.`), { code });
    return code.startsWith('ERR_TENDRIL_') ? own(code, ownReason(code, detail, specifier, from)) : Object.assign(new Error(reason(code, specifier, from)), { code });
  }
  if (kind === 'import') {
    // Node names the file that it has looked for.
    const url = /^\.{0,2}\/|^file:/.test(specifier) && from.startsWith('/') ? new URL(specifier, pathToFileURL(from)).href : undefined;
    const what = url === undefined ? `${/^\.{0,2}\/|^file:/.test(specifier) ? 'module' : 'package'} '${specifier}'` : `module '${fileURLToPath(withoutQuery(url))}'`;
    return Object.assign(new Error(`Cannot find ${what} imported from ${from}`), { code: 'ERR_MODULE_NOT_FOUND', ...(url !== undefined && { url }) });
  }
  return Object.assign(new Error(`Cannot find module '${specifier}'\nRequire stack:\n- ${from}`), { code: 'MODULE_NOT_FOUND', requireStack: [from] });
}

function ownReason(code: string, detail: string, specifier: string, from: string): string {
  const what = `'${specifier}', imported from ${from},`;
  switch (code) {
    case 'ERR_TENDRIL_MODULE_REFUSED':
      return `${what} is not sent to this context: ${detail}; see the option modules of Master`;
    case 'ERR_TENDRIL_MODULE_QUOTA':
      return `${what} is not sent: this context has asked for too many modules in a short time`;
    case 'ERR_TENDRIL_DETACHED':
      return `${what} cannot be had: this context was detached, and nobody is above it who has the module; load it before`;
    default:
      return `${what} was not sent (${code})`;
  }
}

/** The error for a native addon, which runs on the machine that it was built for and nowhere else. */
export function nativeAddon(path: string, own: (code: string, message: string) => Error): Error {
  const name = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? 'its package';
  return own('ERR_TENDRIL_NATIVE_ADDON', `${name} needs the native addon ${path}, which is not sent to other machines: install ${name} there and name it in the option modules.local of Master, use a package in plain JavaScript, or import it inside try and go on without`);
}
