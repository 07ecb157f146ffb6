import { fileURLToPath, pathToFileURL } from 'node:url';

/** Where the modules of the master seem to lie in a child; nothing real can be below /dev/null. */
export const VIRTUAL_ROOT = '/dev/null/tendril';
const SCHEME = 'file://';
const VIRTUAL_URL = SCHEME + VIRTUAL_ROOT;

/** What `tendril` is; no file. */
export const LIBRARY_ID = 'file:///.library/tendril.cjs';

/** What makes contexts in a child; no file either. */
export const PARENT_ID = 'file:///.library/parent.cjs';

/** What makes streams in a child, and the operators for them: FLOW_MODULE of src/core/call/protocol.ts. */
export const FLOW_ID = 'file:///.library/flow.cjs';

/** What runs services in a child, and calls them. */
export const SERVICE_ID = 'file:///.library/service.cjs';

/** What runs commands and moves files in a child. */
export const REMOTE_ID = 'file:///.library/remote.cjs';

/** What keeps results of calls in a child for later calls of their chain. */
export const CHAIN_ID = 'file:///.library/chain.cjs';

/** Parts of the library, which every context may have; the names of their files. */
export const LIBRARY_PARTS: ReadonlyMap<string, string> = new Map([[PARENT_ID, 'part-maker.js'], [FLOW_ID, 'part-flow.js'], [SERVICE_ID, 'part-service.js'], [REMOTE_ID, 'part-remote.js'], [CHAIN_ID, 'part-chain.js']]);

/** The part of a URL before its query and fragment: instances of a module share a file. */
export function withoutQuery(url: string): string {
  if (url.startsWith('data:')) return url;
  const at = url.search(/[?#]/);
  return at < 0 ? url : url.slice(0, at);
}

/** How calls name a service: this and the ID of its module, or nothing for one that has a name of its own. */
const SERVICE = 'service:';

/** The module of a service, from how calls name it; undefined for what is no service. */
export function serviceModule(module: string): string | undefined {
  return module.startsWith(SERVICE) ? module.slice(SERVICE.length) : undefined;
}

/** How calls name the service that a module exports. */
export function serviceName(module: string): string {
  return SERVICE + module;
}

/** How calls name the module of a function whose result is kept, or that takes results which are. */
const CHAINED = 'chain:';

/** The module of such a function; undefined for one that is called as it is. */
export function chainedModule(module: string): string | undefined {
  return module.startsWith(CHAINED) ? module.slice(CHAINED.length) : undefined;
}

/** The modules that a call needs where it runs. */
export function modulesOf(module: string): string[] {
  const service = serviceModule(module);
  const chained = chainedModule(module);
  if (chained !== undefined) return [CHAIN_ID, ...modulesOf(chained)];
  return [service === undefined ? module : SERVICE_ID, service ?? ''].filter((id) => id !== '');
}

/** The URL of a module in a child. IDs that are no files (`data:`) are the same everywhere. */
export function virtualUrl(id: string): string {
  return id.startsWith(SCHEME) ? VIRTUAL_URL + id.slice(SCHEME.length) : id;
}

const paths = new Map<string, string>();
const ids = new Map<string, string>();

/** The file name of a module in a child. */
export function virtualPath(id: string): string {
  let path = paths.get(id);
  if (path === undefined) {
    path = id.startsWith(SCHEME) ? VIRTUAL_ROOT + fileURLToPath(withoutQuery(id)) : id;
    paths.set(id, path);
  }
  return path;
}

export function isVirtualUrl(url: unknown): url is `file:///dev/null/tendril/${string}` {
  return typeof url === 'string' && url.startsWith(`${VIRTUAL_URL}/`);
}

export function isVirtualPath(path: unknown): path is `/dev/null/tendril/${string}` {
  return typeof path === 'string' && path.startsWith(`${VIRTUAL_ROOT}/`);
}

/** The ID of the module with this URL in a child. */
export function idOfUrl(url: string): string {
  return SCHEME + url.slice(VIRTUAL_URL.length);
}

/** The ID of the module with this file name in a child. */
export function idOfPath(path: string): string {
  let id = ids.get(path);
  if (id === undefined) ids.set(path, (id = pathToFileURL(masterPath(path)).href));
  return id;
}

/** The path at the master of a path in a child. */
export function masterPath(path: string): string {
  return path.slice(VIRTUAL_ROOT.length);
}
