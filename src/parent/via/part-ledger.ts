import type { Router } from '../../core/routing/router.ts';
import { LOAD_PART } from '../../core/wire/handles.ts';

export const PART_NAMES = ['parent', 'ssh'] as const;

/** A part of the library that is not in the core: what every context with children needs, and what one method needs beside it. */
export type PartName = (typeof PART_NAMES)[number];

/** What a connection method takes, in this order. */
export function partsOf(method: string): readonly PartName[] {
  return method === 'ssh' ? ['parent', 'ssh'] : ['parent'];
}

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

  /** Those of the parts that have not come here. */
  lacks(names: readonly PartName[]): readonly PartName[] {
    return names.filter((name) => this.#packed(name) === undefined);
  }
}
