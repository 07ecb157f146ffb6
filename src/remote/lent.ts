/** See src/core/wire/lent.ts, which is not imported here: it would come a second time. */
const LENT: unique symbol = Symbol.for('tendril.lent') as never;

/** Memory of pieces that are sent to one context, and used again when a link has written them. */
export class LentMemory {
  readonly #bytes: number;
  readonly #spare: Buffer[] = [];

  /** @param bytes - of a piece */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(): Buffer {
    const spare = this.#spare.pop();
    if (spare) return spare;
    const buffer = Buffer.allocUnsafeSlow(this.#bytes);
    mark(buffer, () => this.#spare.push(buffer));
    return buffer;
  }

  /** The beginning of a piece, to be sent in its place. */
  part(piece: Buffer, length: number): Buffer {
    if (length === piece.length) return piece;
    const part = piece.subarray(0, length);
    mark(part, () => this.#spare.push(piece));
    return part;
  }
}

function mark(bytes: Buffer, written: () => void): void {
  (bytes as { [LENT]?: () => void })[LENT] = written;
}
