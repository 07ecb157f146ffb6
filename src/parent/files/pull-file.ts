import { Observable, catchError, finalize, tap, throwError } from 'rxjs';
import { FILE_WINDOW } from '../../remote/chunks.ts';
import type { WriteEvent, WriteSpec } from '../../remote/files/protocol.ts';
import { Reception, discardFile } from '../../remote/files/receive.ts';
import { fileError } from './file-error.ts';
import { attributesOf } from './file-options.ts';
import type { TransferOptions } from './file-options.ts';
import { iterated, resuming, writeSpec } from './transfer.ts';
import type { Peer } from './transfer.ts';

/** Reads one file there, and writes it here. */
export function pullFile(peer: Peer, path: string, local: string, options: TransferOptions, follow: boolean): Observable<WriteEvent> {
  const spec: WriteSpec = writeSpec(local, options, { mode: 0o600 }, peer.returns);
  const attempt = (): Observable<WriteEvent> =>
    new Observable<WriteEvent>((subscriber) => {
      let theirs: unknown;
      const reception = new Reception(
        spec,
        (part) => {
          const source = peer.remote.sendFile(path, follow, spec.checksum, part.bytes > 0 ? part : null).windowed(FILE_WINDOW).deliveries();
          return {
            deliveries: () =>
              source.pipe(
                tap({
                  error: (error: unknown) => {
                    theirs = fileError(error, peer.name);
                  },
                }),
              ),
          };
        },
        (head) => attributesOf(head, options),
      );
      return iterated(reception.events)
        .pipe(catchError((error: unknown) => throwError(() => theirs ?? fileError(error, 'here'))))
        .subscribe(subscriber);
    });
  const attempts = resuming(peer, attempt);
  // Nothing is left of one that is given up; of one that is complete there is nothing.
  return peer.returns ? attempts.pipe(finalize(() => void discardFile(spec.path, spec.id))) : attempts;
}
