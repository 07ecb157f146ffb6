/** Children that are booted at a time, by default; how it was chosen is in docs/decisions.md, D-062. */
export const DEFAULT_MAX_HANDSHAKES = 10;

/** Lets so many in at a time; the others wait in their order. */
export class Admission {
  readonly #max: number;
  readonly #waiting = new Set<() => void>();
  #inside = 0;
  #admitting = false;

  constructor(max: number) {
    this.#max = max;
  }

  /** How many are in, and how many wait. */
  get counts(): { readonly inside: number; readonly waiting: number } {
    return { inside: this.#inside, waiting: this.#waiting.size };
  }

  /**
   * Calls `go` when there is room: at once, or later. What is returned makes the room free again, or withdraws who still
   * waits; a second time it does nothing.
   */
  enter(go: () => void): () => void {
    let left = false;
    const enter = (): void => {
      go();
    };
    this.#waiting.add(enter);
    this.#admit();
    return () => {
      if (left) return;
      left = true;
      if (!this.#waiting.delete(enter)) this.#inside--;
      this.#admit();
    };
  }

  /** One that enters may leave at once, and let others in. */
  #admit(): void {
    if (this.#admitting) return;
    this.#admitting = true;
    for (const enter of this.#waiting) {
      if (this.#inside >= this.#max) break;
      this.#waiting.delete(enter);
      this.#inside++;
      enter();
    }
    this.#admitting = false;
  }
}
