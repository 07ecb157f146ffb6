import { EMPTY, concat, defer, from, ignoreElements } from 'rxjs';
import { TendrilError, messageOf } from '../../core/errors.ts';
import type { Policy } from '../../core/mailbox/policy.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import { LISTEN, PARENTHOOD } from '../../core/wire/handles.ts';
import { decodeValue, encodeValue } from '../../core/wire/values.ts';
import type { ChildRouting } from '../routing/child-routing.ts';
import type { ParentHost } from '../via/part-host.ts';
import type { ListenOptions } from './listening.ts';
import { openListener } from './socket-listener.ts';
import type { SocketListener } from './socket-listener.ts';

/** What the main thread of a context asks of its broker thread (LISTEN). */
type ListenRequest = readonly ['open', number: number, options: ListenOptions] | readonly ['close', number: number];

const isOwn: Policy = ({ srcId }, { id }) => srcId === id;

/** The listeners of a context that is no master: in its broker thread, so that they are there while its code hangs. */
export class Listeners {
  readonly #host: ParentHost;
  readonly #routing: ChildRouting;
  readonly #open = new Map<number, Promise<SocketListener>>();

  constructor(host: ParentHost, routing: ChildRouting) {
    this.#host = host;
    this.#routing = routing;
    host.router.addHandler(LISTEN, {
      policy: isOwn,
      deliver: ({ replyTo, data, tail }) => {
        if (replyTo !== IS_DEAD) void this.#onRequest(decodeValue(data, tail) as ListenRequest);
      },
    });
    const { reaped = EMPTY } = host;
    // The last act of the process in order; what ends by force leaves sockets that the next listener recognises as dead.
    host.reaped = concat(reaped, defer(() => from(this.#closeAll())).pipe(ignoreElements()));
  }

  async #closeAll(): Promise<void> {
    for (const opening of [...this.#open.values()]) await opening.then((listener) => listener.close(), () => undefined);
  }

  async #onRequest(request: ListenRequest): Promise<void> {
    const [kind, number] = request;
    const { router, config } = this.#host;
    if (kind === 'close') {
      await this.#open.get(number)?.then((listener) => listener.close());
      this.#open.delete(number);
      this.#tellMain(['closed', number]);
      return;
    }
    const opening = openListener({ router, routing: this.#routing, name: config.name, master: false }, request[2]);
    this.#open.set(number, opening);
    try {
      const { path } = await opening;
      this.#tellMain(['listening', number, path]);
    } catch (error) {
      this.#open.delete(number);
      this.#tellMain(['not-listening', number, error instanceof TendrilError ? error.code : 'ERR_TENDRIL_SOCKET', messageOf(error)]);
    }
  }

  #tellMain(news: readonly unknown[]): void {
    const { router } = this.#host;
    router.table.twin?.send({ dstId: router.id, srcId: router.id, handle: PARENTHOOD, replyTo: 0, data: encodeValue(news).data });
  }
}
