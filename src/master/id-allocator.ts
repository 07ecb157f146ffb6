import { TendrilError } from '../core/errors.ts';

/** The largest context ID: the header has 16 bits for it. */
const MAX_ID = 0xffff;

/** Hands out context IDs, each once until all are used, then those longest out of use. The master is 0. */
export class IdAllocator {
  #next = 1;
  readonly #released: number[] = [];

  allocate(): number {
    if (this.#next <= MAX_ID) return this.#next++;
    const id = this.#released.shift();
    if (id === undefined) throw new TendrilError('ERR_TENDRIL_NO_IDS', `all ${String(MAX_ID)} context IDs are in use; shut contexts down before you make more`);
    return id;
  }

  /** Takes back the ID of a context of which nothing is left. */
  release(id: number): void {
    this.#released.push(id);
  }
}
