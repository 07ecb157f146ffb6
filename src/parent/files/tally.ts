import { map } from 'rxjs';
import type { Observable } from 'rxjs';
import type { WriteEvent } from '../../remote/files/protocol.ts';
import type { TransferProgress } from './file-options.ts';

/** How far a transfer of one file, or of many, is. */
export class Tally {
  #bytes = 0;
  #totalBytes: number | undefined;
  #files = 0;
  readonly #totalFiles: number;
  readonly #skipped: readonly string[];

  /** @param totalBytes - undefined when that is not known yet */
  constructor(totalFiles: number, totalBytes: number | undefined, skipped: readonly string[] = []) {
    this.#totalFiles = totalFiles;
    this.#totalBytes = totalBytes;
    this.#skipped = skipped;
  }

  /** Counts what one file's transfer tells. */
  count(events: Observable<WriteEvent>, sole = false): Observable<TransferProgress> {
    let at = 0;
    const to = (bytes: number): void => {
      this.#bytes += bytes - at;
      at = bytes;
    };
    return events.pipe(
      map((event) => {
        if (event[0] === 'head') {
          if (sole) this.#totalBytes = event[1] === Infinity ? undefined : event[1];
        } else if (event[0] === 'at') to(event[1]);
        else if (event[0] === 'part') to(event[1].bytes);
        else {
          this.#files++;
          to(event[2]);
          if (sole) return this.progress(event[1]);
        }
        return this.progress();
      }),
    );
  }

  /** The last one of all. */
  done(): TransferProgress {
    return { ...this.progress(), done: true };
  }

  progress(checksum?: string): TransferProgress {
    return { bytes: this.#bytes, totalBytes: this.#totalBytes, files: this.#files, totalFiles: this.#totalFiles, skipped: this.#skipped, done: checksum !== undefined, checksum };
  }
}
