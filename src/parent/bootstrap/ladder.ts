import { defer, from, of, switchMap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { ConnectError } from '../connection/connect-error.ts';
import type { FirstStage, Transport } from '../connection/transport.ts';
import { deliver, deliveryStage } from './delivery.ts';
import { firstStage } from './first-stage.ts';
import { loadRuntime } from './runtime.ts';
import type { Runtime, ShipOptions } from './runtime.ts';
import { searchLoop, searchStage } from './search.ts';

/**
 * Where Node comes from. `search`: from the PATH there, or else from the places where version managers and packages put
 * it. `path`: from the PATH only. `ship`, or an object with details: as with `search`, and where there is none, a Node is
 * sent and run from memory. With `nodePath` nothing is searched.
 */
export type RuntimeOption = 'search' | 'path' | 'ship' | ShipOptions;

/** What a second start may do: look for Node and send one, only send one, or there must be none. */
export type SecondStart = 'search' | 'ship' | 'none';

/** One way to start a context. */
export interface Attempt {
  readonly open: Observable<Transport>;
  /** What is to be done before the first stage can answer. */
  readonly prepare?: (transport: Transport) => Observable<Transport>;
}

/** What {@link attemptsOf} needs to know. */
export interface LadderOptions {
  readonly title: string;
  readonly nodePath?: string | readonly string[] | undefined;
  readonly runtime?: RuntimeOption | undefined;
  readonly again: SecondStart;
}

/**
 * The ways to start a context, in order. The first is the fast one, and the next is only taken where the one before found
 * no Node that can run it ({@link lacksNode}).
 */
export function attemptsOf({ title, nodePath, runtime, again }: LadderOptions, open: (stage: FirstStage) => Observable<Transport>, broker: Broker): Attempt[] {
  // Mistakes in options fail the connection, as everything else that goes wrong with it.
  const first: Attempt = { open: defer(() => {
    checkRuntime(runtime, again);
    return open(firstStage(title, nodePath));
  }) };
  const ship = runtime === 'ship' ? {} : typeof runtime === 'object' ? runtime : undefined;
  const searched = nodePath === undefined && again === 'search' && runtime !== 'path';
  if (ship !== undefined) return [first, shipped(ship, title, searched ? searchLoop(title) : '', open, broker)];
  return searched ? [first, { open: defer(() => open(searchStage(title))) }] : [first];
}

/** Whether a failure means that another attempt may find, or bring, a Node that works. */
export function lacksNode(error: unknown): error is ConnectError {
  return error instanceof ConnectError && (error.reason === 'NODE_MISSING' || error.reason === 'NODE_TOO_OLD');
}

/** The error of a context whose attempts have all failed: that Node is there but too old says more than that none was found. */
export function lastError(error: Error, earlier: ConnectError | undefined): Error {
  if (earlier?.reason !== 'NODE_TOO_OLD' || !lacksNode(error)) return error;
  return new ConnectError('NODE_TOO_OLD', `${earlier.message}; a search for another found none (${error.message})`, { phase: earlier.phase, output: error.output, cause: error });
}

function shipped(options: ShipOptions, title: string, search: string, open: (stage: FirstStage) => Observable<Transport>, broker: Broker): Attempt {
  let runtime: Runtime | undefined;
  return {
    open: defer(() => from(loadRuntime(options))).pipe(switchMap((loaded) => {
      runtime = loaded;
      return open(deliveryStage({ title, runtime, disk: options.disk === true, search }));
    })),
    prepare: (transport) => (runtime === undefined ? of(transport) : deliver(transport, runtime, options, broker)),
  };
}

function checkRuntime(runtime: unknown, again: SecondStart): void {
  const bad = (rule: string): ConnectError => new ConnectError('BAD_OPTION', `the option runtime ${rule}`, { phase: 'command' });
  if (runtime === undefined || runtime === 'search' || runtime === 'path') return;
  if (typeof runtime === 'object' && runtime !== null) {
    const { ship, sha256, disk, timeoutMs } = runtime as Readonly<Record<string, unknown>>;
    if (ship !== undefined && (typeof ship !== 'string' || ship === '')) throw bad('must have the path of a program in ship');
    if (sha256 !== undefined && (typeof sha256 !== 'string' || !/^[\da-f]{64}$/i.test(sha256))) throw bad('must have 64 hex digits in sha256');
    if (disk !== undefined && typeof disk !== 'boolean') throw bad('must have true or false in disk');
    if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs > 0)) throw bad('must have milliseconds in timeoutMs');
  } else if (runtime !== 'ship') throw bad("must be 'search', 'path', 'ship', or an object with ship, sha256, disk, timeoutMs");
  if (again === 'none') throw bad('cannot be ship here: sudo changes the script that takes it when login is set');
}
