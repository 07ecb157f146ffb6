import { tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Link } from '../../core/broker/broker.ts';

/** A link that counts what goes over it. */
export class MeteredLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly volatile: boolean;
  /** Bytes that have come. */
  received = 0;
  /** Messages that were sent. */
  sent = 0;
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
    this.volatile = link.volatile;
    this.chunks = link.chunks.pipe(tap(({ length }) => { this.received += length; }));
  }

  get paced(): boolean {
    return this.#link.paced === true;
  }

  get pendingBytes(): number {
    return this.#link.pendingBytes;
  }

  get drained(): Observable<void> {
    return this.#link.drained;
  }

  holdReading(): void {
    this.#link.holdReading?.();
  }

  releaseReading(): void {
    this.#link.releaseReading?.();
  }

  note(): void {
    this.sent++;
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    this.#link.write(parts, written);
  }

  end(): void {
    this.#link.end();
  }

  destroy(): void {
    this.#link.destroy();
  }
}
