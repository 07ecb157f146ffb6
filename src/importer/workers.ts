import { fileURLToPath } from 'node:url';
import type { MessagePort, Worker, WorkerOptions } from 'node:worker_threads';
import type { Importer, ImporterHost } from '../core/importer/importer.ts';
import type { ModuleAnswer, ModuleBatch, ModulePolicyConfig, ModuleRecord, ModuleRequest, ResourceAnswer, ResourceRequest } from '../core/importer/records.ts';
import { workers } from './builtins.ts';
import { idOfPath, idOfUrl, isVirtualPath, isVirtualUrl, virtualUrl } from './ids.ts';
import type { Store } from './store.ts';

const GET_MODULE = 100;
const LOAD_MODULE = 107;
const LOAD_RESOURCE = 113;

/** What a worker is started with: the importer, the modules that its first one leads to, and a way to ask for more. */
export interface WorkerStart {
  readonly part: string;
  readonly entry: string;
  readonly records: readonly ModuleRecord[];
  readonly policy: ModulePolicyConfig;
  readonly port: MessagePort;
  readonly memory: SharedArrayBuffer;
}

/** An importer that takes records as they are, too: between threads nothing is packed. */
export interface WorkerImporter extends Importer {
  takeResource(answer: ResourceAnswer): void;
  takeRecords(answers: readonly ModuleAnswer[], records: readonly ModuleRecord[]): void;
}

/** Whether what came has code caches with it. */
export function hasCodeCaches(handle: number, value: unknown): boolean {
  return handle === LOAD_MODULE && (value as ModuleBatch)[3] !== undefined;
}

/** What fills the store is the same in every importer. */
export function feeding(store: Store): Omit<WorkerImporter, 'load'> {
  return {
    take: (handle, value) => {
      if (handle === LOAD_MODULE) {
        const [, answers, packed, codeCaches] = value as ModuleBatch;
        store.takePacked(answers ?? [], packed, codeCaches);
      } else if (handle === LOAD_RESOURCE) store.takeResource(value as ResourceAnswer);
      else store.children.take(value as Parameters<typeof store.children.take>[0]);
    },
    takeRecords: (answers, records) => {
      store.take(answers, records);
    },
    takeResource: (answer) => {
      store.takeResource(answer);
    },
  };
}

/** What a thread sends down to a worker of its own. */
type Delivery = { readonly answers: readonly ModuleAnswer[]; readonly records: readonly ModuleRecord[] } | { readonly resource: ResourceAnswer };

/** What runs first in a worker: the user's data where it expects them, then the importer, then the module. */
const BOOT =
  "const w=require('worker_threads'),{tendril,data}=w.workerData;w.workerData=data;require('module').syncBuiltinESMExports();require('vm').runInThisContext('('+tendril.part+')',{filename:'tendril-importer'})(require,tendril)";

type WorkerConstructor = new (filename: string | URL, options?: WorkerOptions) => Worker;

/** Lets `new Worker()` run modules of the master's: a worker is a thread with an importer of its own, fed by this one. */
export function serveWorkers(store: Store, part: string): void {
  const table = workers as unknown as { Worker: WorkerConstructor };
  const Original = table.Worker;
  table.Worker = class VirtualWorker extends Original {
    constructor(filename: string | URL, options: WorkerOptions = {}) {
      const name = String(filename);
      const entry = options.eval === true ? undefined : isVirtualUrl(name) ? idOfUrl(name) : isVirtualPath(name) ? idOfPath(name) : undefined;
      if (entry === undefined) {
        super(filename, options);
        return;
      }
      store.record(entry);
      const { port1, port2 } = new workers.MessageChannel();
      const memory = new SharedArrayBuffer(4);
      const sent = new Set<string>();
      const tendril: WorkerStart = { part, entry, records: store.behind(entry, sent), policy: store.host.policy, port: port2, memory };
      super(BOOT, { ...options, eval: true, workerData: { tendril, data: options.workerData as unknown }, transferList: [...(options.transferList ?? []), port2] });
      feed(store, port1, new Int32Array(memory), sent);
    }
  };
}

/** Answers what a worker asks for. */
function feed(store: Store, port: MessagePort, word: Int32Array, sent: Set<string>): void {
  const deliver = (delivery: Delivery): void => {
    port.postMessage(delivery);
    Atomics.add(word, 0, 1);
    Atomics.notify(word, 0);
  };
  port.on('message', ([handle, request]: [number, ModuleRequest | ResourceRequest]) => {
    if (handle === GET_MODULE) {
      const [, kind, from, specifier] = request as ModuleRequest;
      store.askLater(kind, from, specifier, (target) => {
        deliver({ answers: [[kind, from, specifier, target]], records: target === null ? [] : store.behind(target, sent) });
      });
    } else {
      const [operation, path] = request as ResourceRequest;
      store.resourceLater(operation, path, (resource) => {
        deliver({ resource });
      });
    }
  });
  port.unref();
}

/** Starts an importer, for the core or in a worker of {@link serveWorkers}. */
export function startWith(given: ImporterHost | WorkerStart, part: string, create: (host: ImporterHost, part: string) => WorkerImporter): Importer {
  if (!('port' in given)) return create(given, part);
  const { host, attach } = workerHost(given);
  const importer = create(host, part);
  attach(importer);
  importer.takeRecords([], given.records);
  process.argv[1] = fileURLToPath(virtualUrl(given.entry));
  // A failure is the worker's `error` event, as an uncaught exception or a rejection that nobody handles.
  void importer.load(given.entry);
  return importer;
}

/** The host of an importer in a worker, and what gives it its modules. */
function workerHost({ policy, port, memory }: WorkerStart): { host: ImporterHost; attach: (importer: WorkerImporter) => void } {
  const word = new Int32Array(memory);
  let importer: WorkerImporter | undefined;
  const take = (delivery: Delivery): void => {
    if ('resource' in delivery) importer?.takeResource(delivery.resource);
    else importer?.takeRecords(delivery.answers, delivery.records);
  };
  const host: ImporterHost = {
    require: process.getBuiltinModule('node:module').createRequire('/dev/null/tendril/'),
    policy,
    send: (handle, value) => {
      port.postMessage([handle, value]);
    },
    wait: (done) => {
      while (!done()) {
        const seen = Atomics.load(word, 0);
        const received = workers.receiveMessageOnPort(port);
        if (received === undefined) Atomics.wait(word, 0, seen);
        else take(received.message as Delivery);
      }
    },
    library: () => {
      throw host.error('ERR_TENDRIL_WORKER', 'tendril cannot be used in a worker thread of a child; use it in the main thread there, and send to the worker what it needs');
    },
    error: (code, message) => Object.assign(new Error(message), { code }),
  };
  const attach = (started: WorkerImporter): void => {
    importer = started;
    port.on('message', take);
    port.unref();
  };
  return { host, attach };
}
