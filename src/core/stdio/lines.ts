import { StringDecoder } from 'node:string_decoder';

/** Characters after which a line that does not end is cut. */
export const MAX_LINE: number = 64 * 1024;

/** Cuts bytes into lines; invalid UTF-8 is replaced, a line that does not end is cut at {@link MAX_LINE}. */
export class LineSplitter {
  readonly #emit: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  #partial = '';

  constructor(emit: (line: string) => void) {
    this.#emit = emit;
  }

  push(chunk: Uint8Array | string): void {
    const text = typeof chunk === 'string' ? chunk : this.#decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    const lines = text.split('\n');
    lines[0] = this.#partial + (lines[0] ?? '');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) this.#line(line.endsWith('\r') ? line.slice(0, -1) : line);
    while (this.#partial.length > MAX_LINE) {
      this.#emit(this.#partial.slice(0, MAX_LINE));
      this.#partial = this.#partial.slice(MAX_LINE);
    }
  }

  /** Emits the last line, if it did not end. */
  end(): void {
    const rest = this.#partial + this.#decoder.end();
    this.#partial = '';
    if (rest !== '') this.#line(rest);
  }

  #line(line: string): void {
    for (let at = 0; at < line.length || at === 0; at += MAX_LINE) this.#emit(line.slice(at, at + MAX_LINE));
  }
}
