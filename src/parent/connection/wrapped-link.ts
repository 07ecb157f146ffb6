import type { Observable } from 'rxjs';
import type { Link } from '../../core/broker/broker.ts';

/** A link that passes everything on; what differs is overridden. */
export class WrappedLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  protected readonly inner: Link;

  constructor(inner: Link, chunks: Observable<Uint8Array> = inner.chunks) {
    this.inner = inner;
    this.chunks = chunks;
  }

  get volatile(): boolean {
    return this.inner.volatile;
  }

  get paced(): boolean {
    return this.inner.paced === true;
  }

  get pendingBytes(): number {
    return this.inner.pendingBytes;
  }

  get drained(): Observable<void> {
    return this.inner.drained;
  }

  holdReading(): void {
    this.inner.holdReading?.();
  }

  releaseReading(): void {
    this.inner.releaseReading?.();
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    this.inner.write(parts, written);
  }

  end(): void {
    this.inner.end();
  }

  destroy(): void {
    this.inner.destroy();
  }
}
