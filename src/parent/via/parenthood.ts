import { DecodeError, TendrilError, messageOf } from '../../core/errors.ts';
import type { Policy } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { PARENTHOOD } from '../../core/wire/handles.ts';
import { decodeValue, encodeValue } from '../../core/wire/values.ts';
import { sendValue } from '../modules/send.ts';
import type { IdBlocks } from '../routing/id-blocks.ts';
import { PART_NAMES } from './part-ledger.ts';
import type { PartLedger, PartName } from './part-ledger.ts';

/** What is asked on PARENTHOOD: parts of the library, by a child; an ID, by the other thread of this context. */
type Request = readonly ['parts', readonly PartName[]] | readonly ['id'];

/** Gives those who are to have children what they need for it (PARENTHOOD). */
export class Parenthood {
  readonly #router: Router;
  readonly #ledger: PartLedger;
  readonly #ids: IdBlocks;
  /** Children that have asked for parts that are not here yet, and all that each has asked for meanwhile. */
  readonly #waiting = new Map<number, Set<PartName>>();

  constructor(router: Router, ledger: PartLedger, ids: IdBlocks) {
    this.#router = router;
    this.#ledger = ledger;
    this.#ids = ids;
    router.addHandler(PARENTHOOD, { policy: isAdjacent, deliver: (message) => { this.#onMessage(message); } });
    router.events.subscribe((event) => {
      if (event.type === 'stream-closed') this.#waiting.delete(event.id);
    });
  }

  #onMessage(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    if (message.srcId === this.#router.parentIds[0]) {
      // The answer to a question of the other thread's, or to one that was asked for children. The parts have come ahead of it.
      this.#router.table.twin?.send(message);
      for (const [childId, names] of this.#waiting) if (this.#ledger.lacks([...names]).length === 0) this.#give(childId, [...names]);
      return;
    }
    const [kind, names] = checkRequest(decodeValue(message.data, message.tail));
    if (kind === 'id') {
      if (message.srcId === this.#router.id) this.#allocate();
    } else if (message.srcId !== this.#router.id) {
      const lacking = this.#ledger.lacks(names);
      if (lacking.length === 0) this.#give(message.srcId, names);
      else this.#fetch(message.srcId, names, lacking);
    }
  }

  #give(childId: number, names: readonly PartName[]): void {
    this.#waiting.delete(childId);
    this.#ledger.send(childId, names);
    // Behind them.
    sendValue(this.#router, childId, PARENTHOOD, ['parts', names]);
  }

  /** What no context on the way has used yet is asked for above. */
  #fetch(childId: number, names: readonly PartName[], lacking: readonly PartName[]): void {
    const others = this.#waiting.get(childId);
    this.#waiting.set(childId, new Set([...(others ?? []), ...names]));
    // Once, whatever the child does meanwhile; there are two parts, and the first is here.
    if (others === undefined) sendValue(this.#router, this.#router.parentIds[0] ?? 0, PARENTHOOD, ['parts', lacking]);
  }

  #allocate(): void {
    this.#ids.allocate().subscribe({
      next: (id) => {
        this.#answer(['id', id]);
      },
      error: (error: unknown) => {
        this.#answer(['error', error instanceof TendrilError ? error.code : 'ERR_TENDRIL_NO_IDS', messageOf(error)]);
      },
    });
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
  if (kind === 'id') return [kind];
  if (kind === 'parts' && Array.isArray(names) && names.length <= PART_NAMES.length && names.every((name) => PART_NAMES.includes(name as PartName))) return [kind, names as PartName[]];
  throw new DecodeError('a request for what parents need has a field of the wrong kind');
}
