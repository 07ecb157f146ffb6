import { randomBytes } from 'node:crypto';
import { Observable, catchError, defer, of, retry, tap, throwError } from 'rxjs';
import type { RemoteModule } from '../../core/call/types.ts';
import { ChannelError } from '../../core/errors.ts';
import type { Report } from '../../core/mailbox/guarded-observable.ts';
import type { WriteSpec } from '../../remote/files/protocol.ts';
import type * as Remote from '../../remote/main.ts';
import { fileError } from './file-error.ts';
import type { TransferOptions } from './file-options.ts';

/** The other end of a transfer. */
export interface Peer {
  readonly name: string;
  readonly remote: RemoteModule<typeof Remote>;
  /** Whether it comes back when it is lost: then a transfer goes on where it was. */
  readonly returns: boolean;
  readonly report: Report;
}

/** Losses of a connection in a row, without progress between them, after which a transfer fails. */
const MAX_FRUITLESS = 5;

/** How a file is written whose path is `path`. */
export function writeSpec(path: string, options: TransferOptions, attributes: WriteSpec['attributes'], resumable: boolean): WriteSpec {
  const { overwrite = true, sync = false, parents = false, checksum = 'crc32', maxBytes = Infinity } = options;
  return { path, id: randomBytes(9).toString('hex'), attributes, overwrite, sync, parents, checksum, maxBytes, resumable };
}

/** Whether the connection was lost, rather than that something failed. */
export function isLoss(error: unknown): boolean {
  return error instanceof ChannelError && (error.reason === 'respondent-gone' || error.reason === 'no-route');
}

/**
 * Begins again when the connection is lost and comes back: calls wait for it. What `attempt` gives is to take up what is
 * there.
 *
 * @param attempt - told which it is, from 0 on
 */
export function resuming<T>({ returns }: Peer, attempt: (number: number) => Observable<T>): Observable<T> {
  return defer(() => {
    let attempts = 0;
    let fruitless = 0;
    return defer(() => attempt(attempts++)).pipe(
      tap((event) => {
        if (Array.isArray(event) && event[0] === 'at') fruitless = 0;
      }),
      retry({ delay: (error: unknown) => (returns && isLoss(error) && fruitless++ < MAX_FRUITLESS ? of(true) : throwError(() => error)) }),
    );
  });
}

/** The values of an iterator, which is told when nobody wants more. */
export function iterated<T>(iterator: AsyncIterableIterator<T, undefined, undefined>): Observable<T> {
  return new Observable<T>((subscriber) => {
    const pull = async (): Promise<void> => {
      for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) subscriber.next(step.value);
      subscriber.complete();
    };
    pull().catch((error: unknown) => {
      subscriber.error(error);
    });
    return () => void iterator.return?.();
  });
}

/** With the errors of src/remote/files as what they are: those of a context, or `here`. */
export function mended<T>(source: Observable<T>, where: string): Observable<T> {
  return source.pipe(catchError((error: unknown) => throwError(() => fileError(error, where))));
}
