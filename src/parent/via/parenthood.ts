import { DecodeError, TendrilError, messageOf } from '../../core/errors.ts';
import type { Policy } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { PARENTHOOD } from '../../core/wire/handles.ts';
import { decodeValue, encodeValue } from '../../core/wire/values.ts';
import { sendValue } from '../modules/send.ts';
import type { ChildRouting } from '../routing/child-routing.ts';
import { PART_NAMES } from './part-ledger.ts';
import type { PartLedger, PartName } from './part-ledger.ts';

/** What is asked on PARENTHOOD: parts of the library, by a child; an ID, which contexts there are, or who is below, by the other thread of this context. */
type Request = readonly ['parts', readonly PartName[]] | readonly ['id' | 'contexts' | 'below'];

/** Gives those who are to have children what they need for it (PARENTHOOD). */
export class Parenthood {
  readonly #router: Router;
  readonly #ledger: PartLedger;
  readonly #routing: Pick<ChildRouting, 'ids' | 'directory'>;
  /** Children that want parts which have not come here, and what each has asked for last. */
  readonly #waiting = new Map<number, readonly PartName[]>();
  #tellsBelow = false;

  constructor(router: Router, ledger: PartLedger, routing: Pick<ChildRouting, 'ids' | 'directory'>) {
    this.#router = router;
    this.#ledger = ledger;
    this.#routing = routing;
    router.events.subscribe((event) => {
      if (event.type === 'stream-closed') this.#waiting.delete(event.id);
    });
    // Whoever wants to know who is below asks now.
    this.#answer(['parental']);
    router.addHandler(PARENTHOOD, { policy: isAdjacent, deliver: (message) => { this.#onMessage(message); } });
  }

  #onMessage(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    if (message.srcId === this.#router.parentIds[0]) {
      // The answer to a question of the other thread's, or of a child's.
      this.#router.table.twin?.send(message);
      const [news] = decodeValue(message.data, message.tail) as readonly [unknown];
      for (const [childId, wanted] of [...this.#waiting]) if (news === 'no-parts' || this.#hasAll(wanted)) this.#give(childId, wanted);
      return;
    }
    const [kind, names] = checkRequest(decodeValue(message.data, message.tail));
    const { id, table } = this.#router;
    if (kind !== 'parts') {
      if (message.srcId !== id) return;
      if (kind === 'id') this.#allocate();
      else if (kind === 'contexts') this.#watchContexts();
      else this.#tellBelow();
    } else if (message.srcId === id) {
      // Of a context that has no parent to ask.
      this.#answer(this.#hasAll(names) ? ['parts', names] : ['no-parts']);
    } else if (this.#hasAll(names) || table.parent === undefined) this.#give(message.srcId, names);
    else {
      const asked = this.#waiting.get(message.srcId);
      this.#waiting.set(message.srcId, names);
      // Once, however often the child asks.
      if (asked?.join() !== names.join()) sendValue(this.#router, table.parent.remoteId, PARENTHOOD, ['parts', names]);
    }
  }

  /** There is nobody to ask any more. */
  becomeRoot(): void {
    for (const [childId, names] of [...this.#waiting]) this.#give(childId, names);
  }

  #hasAll(names: readonly PartName[]): boolean {
    return names.every((name) => this.#ledger.has(name));
  }

  /** Sends a child what it has asked for, and says so behind it; or that it cannot be had. */
  #give(childId: number, names: readonly PartName[]): void {
    this.#waiting.delete(childId);
    const complete = this.#hasAll(names);
    if (complete) this.#ledger.send(childId, names);
    sendValue(this.#router, childId, PARENTHOOD, complete ? ['parts', names] : ['no-parts']);
  }

  /** Tells the other thread which contexts are below this one, from now on: it decides whom services are for. */
  #tellBelow(): void {
    const { events, streams, table } = this.#router;
    this.#answer(['below', [...streams].flatMap((stream) => table.via(stream))]);
    if (this.#tellsBelow) return;
    this.#tellsBelow = true;
    events.subscribe((event) => {
      if (event.type === 'route-added') this.#answer(['below', [event.id]]);
      else if (event.type === 'route-removed') this.#answer(['not-below', event.id]);
    });
  }

  #allocate(): void {
    this.#routing.ids.allocate().subscribe({
      next: (id) => {
        this.#answer(['id', id]);
      },
      error: (error: unknown) => {
        this.#answer(['error', error instanceof TendrilError ? error.code : 'ERR_TENDRIL_NO_IDS', messageOf(error)]);
      },
    });
  }

  /** Tells which contexts there are, and of each change from now on. */
  #watchContexts(): void {
    const { directory } = this.#routing;
    directory.watcher = (news) => {
      this.#answer(['context', news]);
    };
    // One by one, for all of them may be more than a message.
    for (const info of directory.all) directory.watcher(info);
    this.#answer(['contexts']);
  }

  #answer(answer: readonly unknown[]): void {
    const { id, table } = this.#router;
    table.twin?.send({ dstId: id, srcId: id, handle: PARENTHOOD, replyTo: 0, data: encodeValue(answer).data });
  }
}

/** The other thread of this context, its children, and its parent. */
const isAdjacent: Policy = ({ srcId }, { id, parentIds, immediateId }) => srcId === id || srcId === immediateId || srcId === parentIds[0];

function checkRequest(value: unknown): Request {
  const [kind, names] = Array.isArray(value) ? (value as unknown[]) : [];
  if (kind === 'id' || kind === 'contexts' || kind === 'below') return [kind];
  if (kind === 'parts' && Array.isArray(names) && names.length <= PART_NAMES.length && names.every((name) => PART_NAMES.includes(name as PartName))) return [kind, names as PartName[]];
  throw new DecodeError('a request for what parents need has a field of the wrong kind');
}
