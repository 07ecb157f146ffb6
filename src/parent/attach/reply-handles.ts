/** Handles that wait for answers to what was relayed. */
export const MAX_REPLY_HANDLES = 16_384;

/** For whom an answer is. */
export interface ReplyHandle {
  /** Ours, which the other context knows. */
  readonly own: number;
  /** That of the process that waits. */
  readonly theirs: number;
  readonly contextId: number;
  /** A call, which ends with an answer; another is for refusals, and has no end of its own. */
  readonly isCall: boolean;
}

/** Reply handles of one process, by their number and by ours. */
export class ReplyHandles {
  readonly #byOwn = new Map<number, ReplyHandle>();
  readonly #byTheirs = new Map<string, ReplyHandle>();

  get size(): number {
    return this.#byOwn.size;
  }

  all(): ReplyHandle[] {
    return [...this.#byOwn.values()];
  }

  find(contextId: number, theirs: number): ReplyHandle | undefined {
    return this.#byTheirs.get(keyOf(contextId, theirs));
  }

  /** Notes a pair; false when there are too many calls. What is over the limit and no call makes room. */
  add(handle: ReplyHandle, drop: (oldest: ReplyHandle) => void): boolean {
    if (this.#byOwn.size >= MAX_REPLY_HANDLES) {
      const oldest = this.all().find(({ isCall }) => !isCall);
      if (oldest === undefined) return false;
      drop(oldest);
    }
    this.#byOwn.set(handle.own, handle);
    this.#byTheirs.set(keyOf(handle.contextId, handle.theirs), handle);
    return true;
  }

  delete({ own, contextId, theirs }: ReplyHandle): void {
    this.#byOwn.delete(own);
    this.#byTheirs.delete(keyOf(contextId, theirs));
  }
}

function keyOf(contextId: number, theirs: number): string {
  return `${String(contextId)} ${String(theirs)}`;
}
