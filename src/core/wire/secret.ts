import { TAG_SECRET, WIRE } from './tags.ts';
import type { Wired } from './tags.ts';

/**
 * A text that prints as `[secret]` wherever it is shown: string conversion, JSON, `util.inspect`, logs and traces.
 * {@link Secret.reveal} gives the text.
 */
export class Secret implements Wired {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [Symbol.toPrimitive](): string {
    return '[secret]';
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]';
  }

  [WIRE](): { tag: number; content: unknown } {
    return { tag: TAG_SECRET, content: this.#text };
  }
}
