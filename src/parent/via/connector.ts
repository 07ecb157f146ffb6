import { defer, forkJoin, ignoreElements } from 'rxjs';
import type { Observable } from 'rxjs';
import type { ChildConfig } from '../../core/config.ts';
import { hasParentAuthority } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { CONNECT } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import { attemptsOf } from '../bootstrap/ladder.ts';
import type { RuntimeOption } from '../bootstrap/ladder.ts';
import { Admission } from '../connection/admission.ts';
import { ConnectError } from '../connection/connect-error.ts';
import type { ConnectReason } from '../connection/connect-error.ts';
import { DirectConnection } from '../connection/direct-connection.ts';
import type { Method } from '../connection/methods.ts';
import type { ModuleForwarder } from '../modules/module-forwarder.ts';
import { profileOf } from '../modules/profile.ts';
import { sendValue } from '../modules/send.ts';
import type { ChildRouting } from '../routing/child-routing.ts';
import type { PartLedger, PartName } from './part-ledger.ts';
import { ATTACH_PARTS, partsOf } from './part-ledger.ts';
import { reportedError } from './protocol.ts';
import type { ConnectMessage, ConnectRequest, Report } from './protocol.ts';

type DetachMessage = Extract<ConnectMessage, readonly ['detach', ...unknown[]]>;

const NO_CACHE = new Uint8Array(0);

/** What a connector knows of the context that it is in. */
export interface ConnectorScope {
  readonly router: Router;
  readonly config: ChildConfig;
  /** The compressed core that this context was booted with. */
  readonly core: Uint8Array;
  readonly ledger: PartLedger;
  readonly routing: ChildRouting;
  readonly forwarder: ModuleForwarder;
  /** The connection methods that are here, by name. */
  readonly methods: ReadonlyMap<string, Method>;
}

/** Starts contexts for those above, and passes requests on that are for contexts below (CONNECT). */
export class Connector {
  readonly #scope: ConnectorScope;
  readonly #connections = new Map<number, DirectConnection>();
  readonly #admission: Admission;

  constructor(scope: ConnectorScope) {
    this.#scope = scope;
    this.#admission = new Admission(scope.config.maxHandshakes);
    scope.router.addHandler(CONNECT, { policy: hasParentAuthority, deliver: (message) => { this.#onMessage(message); } });
  }

  /** Completes when nothing is left of the children that are there on subscription. */
  get reaped(): Observable<never> {
    return defer(() => forkJoin([...this.#connections.values()].map(({ closed }) => closed)).pipe(ignoreElements()));
  }

  #onMessage(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const request = decodeValue(message.data, message.tail) as ConnectMessage;
    const [kind, value] = request;
    if (kind === 'end') this.#connections.get(value)?.shutdown();
    else if (kind === 'detach') this.#detach(request);
    else if (value.viaId === this.#scope.router.id) this.#connect(value);
    else this.#passOn(value);
  }

  #detach([, viaId, id]: DetachMessage): void {
    const { router, ledger } = this.#scope;
    const next = router.table.get(viaId);
    if (viaId === router.id) this.#connections.get(id)?.detach();
    else if (next !== undefined) forwardDetach(router, ledger, next.remoteId, viaId, id);
  }

  #passOn(request: ConnectRequest): void {
    const { router, ledger, routing } = this.#scope;
    const { viaId, id, method } = request;
    const next = router.table.get(viaId);
    const here = `context ${String(router.id)}, which is on the way,`;
    if (next === undefined) this.#refuse(request, 'VIA_LOST', `${here} has no route to context ${String(viaId)}`);
    else if (!partsOf(method).every((name) => ledger.has(name))) this.#refuse(request, 'BAD_OPTION', `${here} has not got what the connection method ${method} takes`);
    else if (!routing.ids.expect(next.remoteId, id) || !router.table.add(id, next)) this.#refuse(request, 'BAD_OPTION', `${here} has the ID ${String(id)} in use`);
    else forward(router, ledger, next.remoteId, request);
  }

  #connect(request: ConnectRequest): void {
    const { router, config, core, ledger, methods, routing, forwarder } = this.#scope;
    const { id, name, title, method, options, bootTimeoutMs, logLevel, profile, keepalive = config.keepalive } = request;
    const way = methods.get(method);
    if (way === undefined || router.table.get(id) !== undefined) {
      this.#refuse(request, 'BAD_OPTION', way === undefined ? `there is no connection method ${method}` : `the ID ${String(id)} is in use`);
      return;
    }
    const report = (content: Report): void => {
      this.#report(request, content);
    };
    const connection = new DirectConnection(
      router,
      {
        attempts: attemptsOf({ title, nodePath: options['nodePath'] as string | undefined, runtime: options['runtime'] as RuntimeOption | undefined, again: way.again({ ...options, title }) }, (stage) => way.open({ ...options, title }, stage, router.broker), router.broker),
        config: { ...config, id, parentIds: [router.id, ...config.parentIds], name, logLevel, profile, keepalive },
        admission: this.#admission,
        core,
        codeCache: () => NO_CACHE,
        eager: way.eager,
        bootTimeoutMs,
        attach: (stream) => {
          routing.routes.attach(stream, name);
        },
        booted: (nodeVersion) => {
          routing.routes.booted(id, nodeVersion);
        },
        loadDetaching: () => {
          ledger.send(id, ATTACH_PARTS);
        },
      },
      {
        onOutput: (stream, line) => { report(['output', stream, line]); },
        onBooted: (nodeVersion) => {
          const booted = (): void => {
            report(['booted', nodeVersion]);
          };
          // The master sends what its calls need; for others' calls it is fetched.
          if (request.contextId !== config.parentIds.at(-1)) forwarder.whenImporter(profileOf(nodeVersion), booted);
          else booted();
        },
        onEnding: (reason, error) => { report(['ending', reason, reportedError(error)]); },
      },
    );
    this.#connections.set(id, connection);
    connection.closed.subscribe(({ exit }) => {
      this.#connections.delete(id);
      routing.ids.release(id);
      report(['closed', exit ?? null]);
    });
    connection.start();
  }

  #refuse(request: ConnectRequest, reason: ConnectReason, text: string): void {
    this.#report(request, ['ending', 'failed', reportedError(new ConnectError(reason, text, { phase: 'transport' }))]);
    // Those above have noted the way to it.
    this.#scope.routing.routes.withdraw(request.id);
    this.#report(request, ['closed', null]);
  }

  #report({ contextId, handle }: ConnectRequest, report: Report): void {
    sendValue(this.#scope.router, contextId, handle, report);
  }
}

/** Sends a request to the next hop, behind the parts that it takes there. */
export function forward(router: Router, ledger: PartLedger, nextId: number, request: ConnectRequest): void {
  // Whoever is not the last hop only passes on.
  const names: readonly PartName[] = partsOf(request.method);
  ledger.send(nextId, names);
  sendValue(router, nextId, CONNECT, ['connect', request] satisfies ConnectMessage);
}

/** Sends the request to detach a context on its way, behind the parts that it takes there. */
export function forwardDetach(router: Router, ledger: PartLedger, nextId: number, viaId: number, id: number): void {
  ledger.send(nextId, ATTACH_PARTS);
  sendValue(router, nextId, CONNECT, ['detach', viaId, id] satisfies ConnectMessage);
}
