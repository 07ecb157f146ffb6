import { writeSync } from 'node:fs';
import type { Session } from 'node:inspector';
import { createRequire } from 'node:module';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { Subscription } from 'rxjs';
import { NodeBroker } from '../broker/node-broker.ts';
import { PortLink } from '../broker/port-link.ts';
import { CallTracker } from '../call/current-call.ts';
import { Dispatcher } from '../call/dispatch.ts';
import type { ChildConfig } from '../config.ts';
import { Context } from '../context.ts';
import { ShutdownError, TendrilError, isError } from '../errors.ts';
import { ImporterSlot } from '../importer/importer.ts';
import { LogForwarder } from '../log/forwarder.ts';
import { hasParentAuthority } from '../mailbox/policy.ts';
import { Joiner } from '../routing/joiner.ts';
import { Router } from '../routing/router.ts';
import { Stream } from '../routing/stream.ts';
import { LINGER_MS, endProcess } from '../shutdown.ts';
import { captureStdio } from '../stdio/capture.ts';
import { errorContent } from '../wire/call-error.ts';
import type { ErrorContent } from '../wire/call-error.ts';
import { IS_DEAD } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_FUNCTION, LOAD_MODULE, LOAD_PART, LOAD_RESOURCE, PARENTHOOD, PROFILE, SHUTDOWN } from '../wire/handles.ts';
import { deadError, decodeValue, encodeEnvelope, encodeValue } from '../wire/values.ts';
import { MainLink } from './main-link.ts';
import type { BrokerThreadData } from './broker-thread.ts';
import { MainLease } from './main-lease.ts';
import type { LeaseControl, MainControl } from './thread-control.ts';
import { childContexts, childLibrary } from './library.ts';
import { SharedState } from './shared-state.ts';
import { traceTo } from '../log/trace.ts';
import { watchParent } from './watch-parent.ts';

/** Starts the other thread: evaluates the core again there, from the compressed copy that this child was booted with. */
const WORKER_SOURCE =
  "const{workerData:w}=require('worker_threads');require('vm').runInThisContext(require('zlib').inflateRawSync(w.core)+'',{filename:'tendril-core'})(require,w.core,w.data)";

/** What is for the importer, which user code may be waiting for. */
const TO_IMPORTER: readonly number[] = [LOAD_MODULE, LOAD_RESOURCE, PARENTHOOD];

/**
 * The main thread of a child: runs user code. Until the first call it is alone; then it starts the broker thread, and both
 * share the way to the parent (docs/decisions.md, D-010, D-011, D-024).
 */
export class MainThread {
  readonly #core: Uint8Array;
  readonly #config: ChildConfig;
  readonly #broker = new NodeBroker();
  readonly #state = new SharedState();
  readonly #link: MainLink;
  readonly #router: Router;
  readonly #stream: Stream;
  readonly #log: LogForwarder;
  readonly #tracker = new CallTracker();
  readonly #importer: ImporterSlot;
  /** Of messages for the importer, which are taken in more ways than one. */
  readonly #joiner: Joiner;
  readonly #dispatcher: Dispatcher;
  readonly #flushStdio: () => void;
  #profiler: Session | undefined;
  readonly #lease: MainLease;
  #port: { postMessage(control: MainControl): void } | undefined;
  /** The way from the broker thread. */
  #fromBroker: PortLink | undefined;
  /** User code is blocked in a `require`, so that nothing else can run. */
  #waiting = false;
  /** What is being delivered: modules may be in it, behind the call that runs. */
  #batch: readonly Message[] | undefined;
  /** Modules that were taken ahead of their turn. */
  readonly #taken = new WeakSet<Message>();
  /** What has come of modules, for the broker thread when it needs it. */
  readonly #modules: Message[] = [];
  /** What came meanwhile and is none of the importer's business. */
  #held: Message[] = [];
  #shutdownHeld = false;
  #watch: Subscription | undefined;
  #uncaught: ErrorContent | undefined;
  #ending = false;

  constructor(core: Uint8Array, config: ChildConfig) {
    this.#core = core;
    this.#config = config;
    this.#link = new MainLink(this.#state, config.parentIds, config.readBufferSize);
    this.#router = new Router(this.#broker, config);
    this.#joiner = new Joiner(config.maxMessageSize);
    this.#stream = new Stream(this.#broker, config.parentIds[0] ?? 0, config.maxMessageSize);
    this.#router.table.parent = this.#stream;
    this.#router.add(this.#stream);
    this.#log = new LogForwarder(this.#router, config.parentIds.at(-1) ?? 0, config.logLevel, () => {
      this.#stream.flush();
    });
    this.#flushStdio = captureStdio((stream, line) => {
      this.#log.record(stream, 'info', line);
    });
    const contexts = childContexts(this.#router, config.name);
    const resolve: ImporterSlot['resolve'] = (ref) => this.#importer.resolve(ref);
    this.#dispatcher = new Dispatcher(contexts.scope, resolve, this.#tracker);
    let library: Record<string, unknown> | undefined;
    this.#importer = new ImporterSlot({
      require: createRequire('/dev/null/tendril/'),
      policy: config.modules,
      send: (handle, value, dstId) => {
        this.#sendUp(handle, value, dstId);
      },
      wait: (done) => {
        this.#wait(done);
      },
      library: () => (library ??= childLibrary(contexts, this.#log, this.#tracker)),
      error: (code, message) => new TendrilError(code, message),
      internals: { scope: contexts.scope, config, dispatcher: this.#dispatcher, tracker: this.#tracker, resolve, Stream, Context, encodeEnvelope, encodeValue, decodeValue, deadError },
    });
    for (const handle of TO_IMPORTER) this.#router.addHandler(handle, { fragments: true, policy: hasParentAuthority, deliver: (message) => { this.#toImporter(message); } });
    this.#router.addHandler(SHUTDOWN, { policy: hasParentAuthority, deliver: (message) => { if (message.replyTo !== IS_DEAD) this.#shutdown(); } });
    this.#lease = new MainLease({
      state: this.#state,
      link: this.#link,
      stream: this.#stream,
      broker: this.#broker,
      deliver: (batch) => {
        this.#batch = batch;
        this.#router.receive(batch, this.#stream);
        this.#batch = undefined;
      },
      occupied: () => this.#dispatcher.occupied,
    });
    this.#broker.faults.subscribe(({ error, where }) => {
      this.#log.record('tendril', 'error', `${where}: ${isError(error) ? (error.stack ?? error.message) : String(error)}`);
    });
    this.#router.events.subscribe((event) => {
      if (event.type === 'message-refused' && event.reason === 'too-large') this.#log.record('tendril', 'warn', `dropped a message for handle ${String(event.handle)}: ${event.why}`);
    });
    traceTo(config.trace, 'main');
    if (config.profile) this.#profiler = startProfiler();
  }

  /** Announces that the core runs, and begins to serve. */
  start(announce: () => void): void {
    process.on('uncaughtExceptionMonitor', (error) => {
      const [name, message, stack, code, cause] = errorContent(error);
      this.#uncaught = [name, message, stack, 'ERR_TENDRIL_UNCAUGHT', [name, message, stack, code, cause]];
      this.#log.record('tendril', 'error', `uncaught: ${stack}`);
      // A handler of the user's may keep the process alive; what ends it later is another story.
      this.#broker.after(0, () => {
        this.#uncaught = undefined;
      });
    });
    process.on('exit', (code) => {
      this.#onExit(code);
    });
    this.#stream.closed.subscribe(() => {
      this.#shutdown();
    });
    announce();
    this.#watch = watchParent(this.#broker, this.#config.keepalive, () => this.#state.dispatches, () => { this.#shutdown(); });
    this.#router.open(this.#stream, this.#link, undefined, (batch) => {
      this.#receive(batch);
    });
  }

  #receive(batch: readonly Message[]): void {
    // User code is about to run, and may never return: someone must be there to notice. And children are the broker thread's.
    if (this.#port === undefined && batch.some(({ handle }) => handle === CALL_FUNCTION || handle === LOAD_PART)) this.#startBrokerThread();
    if (this.#waiting) {
      this.#hold(batch);
      return;
    }
    this.#takeHeld();
    if (this.#link.own) this.#lease.receiveOwn(batch);
    else this.#lease.receivePosted(batch);
  }

  #startBrokerThread(): void {
    // It does so from now on.
    this.#watch?.unsubscribe();
    const { port1, port2 } = new MessageChannel();
    const data: BrokerThreadData = { config: this.#config, memory: this.#state.memory, port: port2 };
    const worker = new Worker(WORKER_SOURCE, { eval: true, execArgv: [], stdout: false, stderr: false, workerData: { core: this.#core, data }, transferList: [port2] });
    worker.on('error', (error) => {
      writeSync(2, `tendril: the broker thread failed: ${String(error)}\n`);
      process.exit(70);
    });
    this.#port = port1;
    this.#router.table.twin = this.#stream;
    this.#fromBroker = new PortLink(port1, false, (control) => {
      if (control === 'recall') this.#recall();
      else this.#lease.onControl(control as LeaseControl);
    });
    this.#link.join(this.#fromBroker);
    this.#lease.start((control) => {
      port1.postMessage(control);
    });
  }

  #toImporter(message: Message): void {
    if (message.replyTo === IS_DEAD || this.#taken.has(message)) return;
    this.#taken.add(message);
    const whole = message.part ? this.#joiner.join(message) : message;
    if (!whole) return;
    if (whole.handle === LOAD_MODULE) this.#modules.push(whole);
    this.#importer.receive(whole);
  }

  #recall(): void {
    for (const { handle, data, tail } of this.#modules) this.#stream.send({ dstId: this.#config.id, srcId: this.#config.id, handle, replyTo: 0, data, ...(tail && { tail }) });
  }

  #sendUp(handle: number, value: unknown, dstId = this.#config.parentIds[0] ?? 0): void {
    const { data, tail } = encodeValue(value);
    const message: Message = { dstId, srcId: this.#config.id, handle, replyTo: 0, data, ...(tail && { tail }) };
    // What is for this context is for its other thread.
    if (dstId === this.#config.id) this.#stream.send(message);
    else this.#router.send(message);
  }

  /** Blocks until `done`: the broker thread goes on, and brings what is waited for. */
  #wait(done: () => boolean): void {
    this.#takeFrom(this.#batch ?? []);
    this.#batch = undefined;
    if (done()) return;
    const port = this.#fromBroker;
    this.#lease.whileWaiting(() => {
      this.#stream.flush();
      this.#waiting = true;
      try {
        while (!done()) {
          // User code runs for calls, and those have started the other thread.
          if (this.#shutdownHeld || this.#ending || port === undefined) throw new ShutdownError('this context');
          const seen = this.#state.mail;
          if (!port.poll()) this.#state.waitMail(seen);
        }
      } finally {
        this.#waiting = false;
      }
    });
  }

  /** Keeps for later what comes while user code is blocked, in order; the importer gets what is its own at once. */
  #hold(batch: readonly Message[]): void {
    for (const message of this.#takeFrom(batch)) {
      const { handle, srcId } = message;
      this.#held.push(message);
      if (handle === SHUTDOWN && this.#isAbove(srcId)) this.#shutdownHeld = true;
      if (this.#held.length === 1) this.#broker.after(0, () => { this.#takeHeld(); });
    }
  }

  /** Gives the importer what is its own, the rest is returned. */
  #takeFrom(batch: readonly Message[]): Message[] {
    return batch.filter((message) => {
      const { handle, srcId } = message;
      if (!this.#isAbove(srcId) || !TO_IMPORTER.includes(handle)) return true;
      try {
        this.#toImporter(message);
      } catch (error) {
        this.#broker.report(error, `handler of handle ${String(handle)}`);
      }
      return false;
    });
  }

  /** A parent, or the other thread of this very context. */
  #isAbove(srcId: number): boolean {
    return srcId === this.#config.id || this.#config.parentIds.includes(srcId);
  }

  #takeHeld(): void {
    if (this.#held.length === 0) return;
    const held = this.#held;
    this.#held = [];
    this.#lease.receivePosted(held);
  }

  #shutdown(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#state.answer();
    // It may have been us who saw the end of the parent.
    this.#port?.postMessage('shutdown');
    let finished = false;
    const finish = (): void => {
      if (finished) return;
      finished = true;
      this.#flushStdio();
      this.#sendProfile();
      this.#router.close();
      this.#stream.flush();
      if (this.#port) this.#port.postMessage('finished');
      else endProcess(this.#broker);
    };
    this.#broker.after(LINGER_MS, finish);
    this.#dispatcher.cancelAll(() => {
      this.#broker.defer(finish);
    });
  }

  #sendProfile(): void {
    this.#profiler?.post('Profiler.stop', (_error, { profile }) => {
      this.#sendUp(PROFILE, JSON.stringify(profile), this.#config.parentIds.at(-1));
    });
  }

  /** The last words of a process that user code ends: nothing queued is lost. */
  #onExit(code: number): void {
    const stack = new Error(`process.exit(${String(code)})`).stack ?? '';
    const error = this.#uncaught ?? (['ProcessExit', `the remote process ended: process.exit(${String(code)}) was called`, stack, 'ERR_TENDRIL_PROCESS_EXIT', null] as const);
    if (this.#uncaught === undefined && !this.#ending) this.#log.record('tendril', 'error', `process.exit(${String(code)}) was called: ${stack}`);
    // Handlers of the user's for this event come after this one.
    this.#log.urgent = true;
    this.#dispatcher.failAll(error);
    this.#flushStdio();
    this.#stream.settle();
    if (this.#port === undefined) return;
    // It waits for the parent, it does not hang; the grace bounds it.
    this.#state.answer();
    this.#port.postMessage('flush');
    this.#state.waitFlushed(this.#config.graceMs);
  }
}

/** Loaded only where it is wanted: the inspector takes as long to load as all else that the core needs. */
function startProfiler(): Session {
  const { Session: ProfilerSession } = process.getBuiltinModule('node:inspector');
  const session = new ProfilerSession();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.start');
  return session;
}
