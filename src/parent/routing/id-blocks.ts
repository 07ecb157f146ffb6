import { Observable } from 'rxjs';
import type { Quotas } from '../../core/config.ts';
import { DecodeError, TendrilError, messageOf } from '../../core/errors.ts';
import { isImmediateChild } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { ALLOCATE_ID } from '../../core/wire/handles.ts';
import { deadError, decodeValue, encodeValue } from '../../core/wire/values.ts';
import { TokenBucket } from '../token-bucket.ts';
import { GrantedIds } from './granted-ids.ts';
import { IdPool, MAX_ID, countIds } from './id-pool.ts';
import type { IdRange } from './id-pool.ts';
import type { Traffic } from './traffic.ts';

/** IDs that a context asks for first. Each further request is for twice as many (docs/decisions.md, D-041). */
export const FIRST_BLOCK = 4;
/** The most that it asks for, or gets, at once. */
export const MAX_BLOCK = 1024;

/** Payload of a request. */
export type AllocateRequest = number;
/** Payload of its answer. */
export type AllocateAnswer = readonly IdRange[];
/** Who waits for IDs: an allocation here, or a child that has asked. */
interface Waiting {
  readonly count: number;
  readonly childId: number | undefined;
  /** IDs were asked for above, and what came must do. */
  asked: boolean;
  readonly serve: (ranges: readonly IdRange[]) => void;
  readonly fail: (error: Error) => void;
}

/** Options of {@link IdBlocks}. */
export interface IdBlocksOptions {
  /** IDs to begin with: all of them in the master, none elsewhere. */
  readonly ids?: readonly IdRange[];
  /** For how long an ID that came back is not used again, in milliseconds. */
  readonly quarantineMs: number;
  readonly quotas: Quotas;
  readonly traffic: Traffic;
}

/**
 * The IDs of a context with children: allocates for them, gives them blocks to allocate from, and gets blocks from its
 * own parent. What a child was given is noted here, so that this hop can check what it announces.
 */
export class IdBlocks {
  readonly #router: Router;
  readonly #options: IdBlocksOptions;
  readonly #pool: IdPool;
  readonly #granted = new GrantedIds();
  /** IDs of direct and further children that this context has allocated. */
  readonly #used = new Set<number>();
  /** Those of them that were released while something still leads there. */
  readonly #leaving = new Set<number>();
  readonly #waiting: Waiting[] = [];
  readonly #requests = new Map<number, TokenBucket>();
  #asking = false;
  #nextBlock = FIRST_BLOCK;

  constructor(router: Router, options: IdBlocksOptions) {
    this.#router = router;
    this.#options = options;
    this.#pool = new IdPool(() => router.broker.now(), options.quarantineMs);
    for (const range of options.ids ?? []) this.#pool.add(range);
    router.addHandler(ALLOCATE_ID, { policy: isImmediateChild, deliver: (message) => { this.#onMessage(message); } });
    router.events.subscribe((event) => {
      if (event.type === 'route-added') this.#granted.announced(event.via, event.id);
      if (event.type === 'route-removed') this.#routeRemoved(event.id);
      if (event.type === 'stream-closed') this.#childGone(event.id);
    });
  }

  /** How many IDs are where. For leak checks. */
  get counts(): { readonly free: number; readonly resting: number; readonly used: number; readonly holders: number } {
    return { free: this.#pool.free, resting: this.#pool.resting, used: this.#used.size, holders: this.#granted.size };
  }

  /**
   * An ID for a new context; `release` it at the end. Cold: each subscription takes one, at once when one is there, else
   * when the parent has granted more. Errors with ERR_TENDRIL_NO_IDS when there is none, with a ChannelError when the
   * parent is lost.
   */
  allocate(): Observable<number> {
    return new Observable((subscriber) => {
      const waiting: Waiting = {
        count: 1,
        childId: undefined,
        asked: false,
        serve: ([first]) => {
          const [id] = first ?? [0];
          this.#used.add(id);
          subscriber.next(id);
          subscriber.complete();
        },
        fail: (error) => {
          subscriber.error(error);
        },
      };
      this.#waiting.push(waiting);
      this.#serve();
      return () => {
        this.#withdraw((one) => one === waiting);
      };
    });
  }

  /** An ID, where there is one without asking; throws ERR_TENDRIL_NO_IDS. */
  allocateNow(): number {
    const [first] = this.#pool.take(1);
    if (first === undefined) throw this.#noIds();
    this.#used.add(first[0]);
    return first[0];
  }

  /** The context that had an ID from here is gone. It is used again when no route leads there, and its rest is over. */
  release(id: number): void {
    if (!this.#used.delete(id)) return;
    if (this.#router.table.get(id) === undefined) this.#pool.release([id, id + 1]);
    else this.#leaving.add(id);
  }

  /**
   * Lets a child, or a context behind it, make a context with this ID, and so announce it: the request to make it goes that
   * way (CONNECT), and each hop notes it. Ends with the route. False when the ID is not free.
   */
  expect(childId: number, id: number): boolean {
    return this.mayBeRouted(id) && this.#granted.addSingle(childId, id);
  }

  /** Whether a direct child may announce a context of this ID. */
  holds(childId: number, id: number): boolean {
    return this.#granted.holder(id) === childId && this.mayBeRouted(id);
  }

  /**
   * This context is the root of its tree from now on: it has all IDs but those that somebody here has, and those of its old
   * parents, whom contexts below may still obey. IDs that somebody here has known as a context of the old tree rest first.
   */
  becomeRoot(parentIds: readonly number[], isKnown: (id: number) => boolean): void {
    const taken = new Set([this.#router.id, ...parentIds, ...this.#used, ...this.#leaving]);
    const isHere = (id: number): boolean => taken.has(id) || this.#granted.holder(id) !== undefined || this.#router.table.get(id) !== undefined || this.#pool.has(id);
    for (let id = 1; id <= MAX_ID; id++) {
      if (isHere(id)) continue;
      if (isKnown(id)) this.#pool.release([id, id + 1]);
      else this.#pool.add([id, id + 1]);
    }
  }

  /** Neither this context nor one above it. */
  mayBeRouted(id: number): boolean {
    return id !== this.#router.id && !this.#router.parentIds.includes(id);
  }

  #noIds(): TendrilError {
    return new TendrilError('ERR_TENDRIL_NO_IDS', `all context IDs are in use or were until a moment ago (${String(this.#used.size)} here, ${String(this.#pool.resting)} at rest); shut contexts down before you make more`);
  }

  /** Gives those who wait what is there, in their order, and asks above for what is not. */
  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#pool.free < next.count) {
        if (this.#asking) return;
        if (!next.asked && this.#router.table.parent !== undefined) {
          next.asked = true;
          this.#ask(next.count);
          return;
        }
      }
      this.#waiting.shift();
      const ranges = this.#pool.take(next.count);
      if (ranges.length > 0) next.serve(ranges);
      else next.fail(this.#noIds());
    }
  }

  #ask(atLeast: number): void {
    const parentId = this.#router.parentIds[0] ?? 0;
    const handle = this.#router.allocateHandle();
    this.#asking = true;
    this.#router.addHandler(handle, {
      respondent: parentId,
      deliver: (message) => {
        this.#router.removeHandler(handle);
        this.#asking = false;
        try {
          if (message.replyTo === IS_DEAD) throw deadError(message.data);
          for (const range of checkAnswer(decodeValue(message.data, message.tail))) this.#pool.add(range);
          this.#nextBlock = Math.min(MAX_BLOCK, this.#nextBlock * 2);
        } catch (error) {
          this.#failAll(error);
        }
        this.#serve();
      },
    });
    const { data } = encodeValue(Math.min(MAX_BLOCK, Math.max(atLeast, this.#nextBlock)) satisfies AllocateRequest);
    this.#router.send({ dstId: parentId, srcId: this.#router.id, handle: ALLOCATE_ID, replyTo: handle, data });
  }

  /** Nothing came from above: those who wait get what is there, or this error. */
  #failAll(error: unknown): void {
    const refused = error instanceof TendrilError && 'reason' in error && error.reason === 'error';
    const told = refused ? new TendrilError('ERR_TENDRIL_NO_IDS', error.message) : (error as Error);
    for (const one of this.#waiting.splice(0)) {
      const ranges = this.#pool.take(one.count);
      if (ranges.length > 0) one.serve(ranges);
      else one.fail(told);
    }
  }

  #onMessage(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    if (this.#router.table.get(message.srcId)?.remoteId === message.srcId) this.#onRequest(message);
  }

  #onRequest(message: Message): void {
    const { srcId: childId, replyTo } = message;
    const { traffic, quotas } = this.#options;
    const refuse = (reason: 'bad-route' | 'over-quota', why: string): void => {
      traffic.offence(message, childId, reason, why);
      if (replyTo !== 0) this.#router.sendDead(childId, replyTo, 'error', why);
    };
    const count = replyTo === 0 ? undefined : requestedCount(message);
    if (count === undefined) refuse('bad-route', `context ${String(childId)} asks for IDs in a way that is not valid`);
    else if (!this.#mayAsk(childId)) refuse('over-quota', `context ${String(childId)} asks for IDs too often`);
    else if (this.#granted.inBlocks(childId) + count > quotas.ids) refuse('over-quota', `context ${String(childId)}, with those behind it, has ${String(this.#granted.inBlocks(childId))} of the ${String(quotas.ids)} context IDs of its quota, and asks for ${String(count)}; raise quotas.ids at the master`);
    else {
      this.#waiting.push({
        count,
        childId,
        asked: false,
        serve: (ranges) => {
          for (const range of ranges) this.#granted.addBlock(childId, range);
          const { data } = encodeValue(ranges satisfies AllocateAnswer);
          this.#router.send({ dstId: childId, srcId: this.#router.id, handle: replyTo, replyTo: 0, data });
        },
        fail: (error) => {
          this.#router.sendDead(childId, replyTo, 'error', messageOf(error));
        },
      });
      this.#serve();
    }
  }

  /** One request at a time, and not too often. */
  #mayAsk(childId: number): boolean {
    const now = this.#router.broker.now();
    let bucket = this.#requests.get(childId);
    if (bucket === undefined) this.#requests.set(childId, (bucket = new TokenBucket(this.#options.quotas.idRequests, now)));
    return bucket.take(now) && !this.#waiting.some((one) => one.childId === childId);
  }

  #withdraw(matches: (one: Waiting) => boolean): void {
    const index = this.#waiting.findIndex(matches);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  #routeRemoved(id: number): void {
    this.#granted.endSingle(id);
    if (this.#leaving.delete(id)) this.#pool.release([id, id + 1]);
  }

  #childGone(childId: number): void {
    this.#withdraw((one) => one.childId === childId);
    this.#requests.delete(childId);
    const { used, unused } = this.#granted.takeAll(childId);
    for (const range of used) this.#pool.release(range);
    for (const range of unused) this.#pool.add(range);
  }
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_ID;
}

/** How many IDs a child wants; undefined when it does not say so. */
function requestedCount({ data, tail }: Message): number | undefined {
  try {
    const count = decodeValue(data, tail);
    return isId(count) ? Math.min(MAX_BLOCK, count) : undefined;
  } catch {
    return undefined;
  }
}

function checkAnswer(value: unknown): AllocateAnswer {
  const ranges = Array.isArray(value) ? (value as unknown[]) : [];
  const valid = ranges.every((range) => Array.isArray(range) && isId(range[0]) && Number.isInteger(range[1]) && range[1] > range[0] && range[1] <= MAX_ID + 1);
  if (!valid || countIds(ranges as IdRange[]) === 0) throw new DecodeError('an answer to a request for IDs has no ranges of IDs');
  return ranges as IdRange[];
}
