import { merge, take } from 'rxjs';
import { hasParentAuthority } from '../../core/mailbox/policy.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import { DEL_ROUTE, DETACHING, PARENTHOOD } from '../../core/wire/handles.ts';
import { deadError, encodeValue } from '../../core/wire/values.ts';
import { MAX_ID } from '../routing/id-pool.ts';
import type { ParentHost } from '../via/part-host.ts';
import { silence } from './silence.ts';

/** What of its host a {@link Detacher} takes. */
export type DetacherScope = Pick<ParentHost, 'router'> & Required<Pick<ParentHost, 'routing' | 'forwarder' | 'parenthood'>>;

/**
 * Lets this context go on without its parents, with everything below it (DETACHING): its parent is told and answers, what
 * was sent before is written, then the connection is closed and nobody above has a say any more.
 */
export class Detacher {
  readonly #scope: DetacherScope;
  #asking = false;

  constructor(scope: DetacherScope) {
    this.#scope = scope;
    scope.router.addHandler(DETACHING, { policy: hasParentAuthority, deliver: ({ replyTo }) => { if (replyTo !== IS_DEAD) this.#ask(); } });
  }

  #ask(): void {
    const { router } = this.#scope;
    const { parent } = router.table;
    if (parent === undefined) {
      this.#tellMain(['detached']);
      return;
    }
    if (this.#asking) return;
    this.#asking = true;
    const handle = router.allocateHandle();
    router.addHandler(handle, {
      respondent: parent.remoteId,
      deliver: ({ replyTo, data }) => {
        router.removeHandler(handle);
        this.#asking = false;
        if (replyTo === IS_DEAD) this.#tellMain(['refused', 'ERR_TENDRIL_DETACH', `the parent does not let this context go: ${deadError(data).message}`]);
        else this.#leave(parent);
      },
    });
    router.send({ dstId: parent.remoteId, srcId: router.id, handle: DETACHING, replyTo: handle, data: encodeValue(null).data });
  }

  #leave(parent: Stream): void {
    const { router, routing, forwarder, parenthood } = this.#scope;
    const above = [...router.parentIds];
    // From here on what comes from above is dropped as a forgery, and the end of the stream is no reason to shut down.
    router.table.parent = undefined;
    (router.parentIds as number[]).length = 0;
    const known = this.#tellBelow(above);
    routing.ids.becomeRoot(above, (id) => known.has(id));
    for (let id = 0; id <= MAX_ID; id++) if (this.#isOutside(id)) router.contextGone(id);
    forwarder.becomeRoot();
    parenthood.becomeRoot();
    this.#tellMain(['detached']);
    merge(parent.drained, parent.closed).pipe(take(1)).subscribe(() => {
      parent.disconnect();
      silence(router.broker);
    });
  }

  /** Tells the other thread and the children that those above, and those whom they know of there, are gone. Gives the latter. */
  #tellBelow(above: readonly number[]): ReadonlySet<number> {
    const { router } = this.#scope;
    const known = new Set<number>();
    for (const peer of router.streams) {
      if (peer.remoteId === above[0]) continue;
      const gone = new Set(peer === router.table.twin ? above : above.slice(0, 1));
      for (let id = 0; id <= MAX_ID; id++) if (this.#isOutside(id) && peer.forget(id)) gone.add(id);
      for (const id of gone) {
        known.add(id);
        const data = Buffer.alloc(2);
        data.writeUInt16BE(id);
        peer.send({ dstId: peer.remoteId, srcId: router.id, handle: DEL_ROUTE, replyTo: 0, data });
      }
    }
    return known;
  }

  /** Neither this context nor one below it. */
  #isOutside(id: number): boolean {
    return id !== this.#scope.router.id && this.#scope.router.table.get(id) === undefined;
  }

  #tellMain(news: readonly unknown[]): void {
    const { router } = this.#scope;
    router.table.twin?.send({ dstId: router.id, srcId: router.id, handle: PARENTHOOD, replyTo: 0, data: encodeValue(news).data });
  }
}
