import type { Router } from '../../core/routing/router.ts';
import { LOAD_PART } from '../../core/wire/handles.ts';

export const PART_NAMES = ['parent', 'ssh', 'attach'] as const;

/** A part of the library that is not in the core: what every context with children needs, and what one method or use needs beside it. */
export type PartName = (typeof PART_NAMES)[number];

/** What a connection method takes, in this order. */
export function partsOf(method: string): readonly PartName[] {
  return method === 'ssh' ? ['parent', 'ssh'] : ['parent'];
}

/** What it takes to go on without parents, and to let other processes in. */
export const ATTACH_PARTS: readonly PartName[] = ['parent', 'attach'];

/** Sends parts to direct children, each once to each. */
export class PartLedger {
  readonly #router: Router;
  readonly #packed: (name: PartName) => Uint8Array | undefined;
  readonly #sent = new Map<number, Set<PartName>>();

  /** @param packed - a part as it travels; undefined when it has not come here */
  constructor(router: Router, packed: (name: PartName) => Uint8Array | undefined) {
    this.#router = router;
    this.#packed = packed;
    router.events.subscribe((event) => {
      if (event.type === 'stream-closed') this.#sent.delete(event.id);
    });
  }

  /** Whether a part is here to be sent. */
  has(name: PartName): boolean {
    try {
      return this.#packed(name) !== undefined;
    } catch {
      return false;
    }
  }

  /** Sends what the child does not have. */
  send(childId: number, names: readonly PartName[]): void {
    let sent = this.#sent.get(childId);
    if (sent === undefined) this.#sent.set(childId, (sent = new Set()));
    for (const name of names) {
      if (sent.has(name)) continue;
      const data = this.#packed(name);
      if (data === undefined) throw new Error(`the part ${name} has not come here`);
      sent.add(name);
      this.#router.send({ dstId: childId, srcId: this.#router.id, handle: LOAD_PART, replyTo: 0, data });
    }
  }
}
