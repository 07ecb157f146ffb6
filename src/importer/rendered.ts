import { syncBuiltinESMExports } from 'node:module';
import { dirname, extname } from 'node:path';
import type { Importer, ImporterHost } from '../core/importer/importer.ts';
import type { ModuleRecord } from '../core/importer/records.ts';
import { serveFiles } from './assets.ts';
import { clearGlobals, internals, loadedCommonJs, nobodyIsMain, patchResolution, refuseAddons, requireOf } from './commonjs.ts';
import type { CommonJsModule } from './commonjs.ts';
import { COMMONJS_PARAMETERS, compileModule, textOf } from './compiling.ts';
import { nativeAddon } from './failures.ts';
import { idOfPath, isVirtualPath, masterPath, virtualPath } from './ids.ts';
import { Linker } from './linker.ts';
import { Store } from './store.ts';
import { feeding, serveWorkers, startWith } from './workers.ts';
import type { WorkerImporter, WorkerStart } from './workers.ts';

/**
 * The importer below Node 22.15, which has no synchronous hooks: CommonJS modules are modules of Node's own loader, ES
 * modules are run by the {@link Linker} from what the master has made of them.
 */
export function start(given: ImporterHost | WorkerStart, part: string): Importer {
  return startWith(given, part, create);
}

function create(host: ImporterHost, part: string): WorkerImporter {
  const store: Store = new Store(host, 'rendered', () => [...linker.loaded(), ...loadedCommonJs(store)], (id) => evaluate(id));
  const linker = new Linker(store);
  const { prototype } = internals;
  const original = prototype.load;
  prototype.load = function (filename) {
    if (isVirtualPath(filename)) run(store, linker, this, filename);
    else original.call(this, filename);
  };
  patchResolution(store);
  refuseAddons(store);
  clearGlobals();
  nobodyIsMain();
  serveFiles(store);
  serveWorkers(store, part);
  syncBuiltinESMExports();
  const evaluate = (id: string): unknown => store.services.find(id) ?? store.chains.find(id) ?? (store.record(id)[1] === 'module' ? linker.import(id) : internals._load(virtualPath(id), undefined, false));
  return {
    ...feeding(store),
    load: evaluate,
  };
}

/** What Module.prototype.load does for a file of the master's. */
function run(store: Store, linker: Linker, module: CommonJsModule, filename: string): void {
  if (filename.endsWith('.node')) throw nativeAddon(masterPath(filename), store.host.error);
  const id = idOfPath(filename);
  module.filename = filename;
  module.paths = internals._nodeModulePaths(dirname(filename));
  const handler = extensionHandler(filename);
  if (handler) {
    handler(module, filename);
    module.loaded = true;
    return;
  }
  const record = store.record(id);
  const [, format, source] = record;
  if (format === 'module') module.exports = linker.require(id);
  else if (format === 'json') module.exports = parseJson(textOf(source), filename);
  else compile(linker, module, filename, record, store.takeCodeCache(id));
  module.loaded = true;
}

/** What user code has put in `require.extensions` for files that Node knows nothing of. */
function extensionHandler(filename: string): ((module: CommonJsModule, filename: string) => void) | undefined {
  const extension = extname(filename);
  return /^(?:\.[cm]?[jt]sx?|\.json|\.wasm|\.node)?$/.test(extension) ? undefined : internals._extensions[extension];
}

function parseJson(text: string, filename: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    (error as Error).message = `${filename}: ${(error as Error).message}`;
    throw error;
  }
}

/** As Module.prototype._compile, with an `import()` that the linker serves. */
function compile(linker: Linker, module: CommonJsModule, filename: string, record: ModuleRecord, cache: Uint8Array | undefined): void {
  const body = compileModule(record, cache);
  body.call(module.exports, module.exports, requireOf(module), module, filename, dirname(filename), ...(body.length > COMMONJS_PARAMETERS.length ? [linker.dynamic(record[0])] : []));
}
