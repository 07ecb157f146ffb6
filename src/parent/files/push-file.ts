import { Observable, catchError, concat, finalize, from, map, mergeMap, of, tap, throwError } from 'rxjs';
import { stream } from '../../flow/stream.ts';
import { CHUNK_BYTES } from '../../remote/chunks.ts';
import { Checksum } from '../../remote/files/checksum.ts';
import type { FileItem, FilePart, WriteEvent, WriteSpec } from '../../remote/files/protocol.ts';
import { FileSource } from '../../remote/files/source.ts';
import { fileError } from './file-error.ts';
import { attributesOf } from './file-options.ts';
import type { TransferOptions } from './file-options.ts';
import { isLoss, mended, resuming, writeSpec } from './transfer.ts';
import type { Peer } from './transfer.ts';

/** Writes one file of this process there. */
export function pushFile(peer: Peer, local: string, path: string, options: TransferOptions, follow: boolean): Observable<WriteEvent> {
  let spec: WriteSpec | undefined;
  let settled = false;
  const attempts = resuming(peer, (number) =>
    opened(local, follow, (source) => {
      spec ??= writeSpec(path, options, attributesOf(source.info, options), peer.returns);
      return source.info.size <= CHUNK_BYTES ? pushBytes(peer, source, spec) : pushItems(peer, source, spec, number > 0);
    }),
  );
  if (!peer.returns) return attempts;
  return attempts.pipe(
    tap({
      next: ([kind]) => {
        settled ||= kind === 'done';
      },
      error: (error: unknown) => {
        settled ||= isLoss(error);
      },
    }),
    finalize(() => {
      if (!settled && spec) discard(peer, spec);
    }),
  );
}

/** Has removed what an interrupted transfer has left, and nobody goes on with. */
function discard({ remote }: Peer, { path, id }: WriteSpec): void {
  remote.discardFile(path, id).subscribe({ error: () => undefined });
}

/** A file that is open for as long as someone is subscribed. */
export function opened<T>(path: string, follow: boolean, work: (source: FileSource) => Observable<T>): Observable<T> {
  return new Observable<T>((subscriber) => {
    let source: FileSource | undefined;
    FileSource.open(path, follow).then(
      (file) => {
        source = file;
        if (subscriber.closed) void file.close();
        else subscriber.add(work(file).subscribe(subscriber));
      },
      (error: unknown) => {
        subscriber.error(fileError(error, 'here'));
      },
    );
    subscriber.add(() => void source?.close());
  });
}

/** A small file, in one message. */
function pushBytes({ name, remote }: Peer, source: FileSource, spec: WriteSpec): Observable<WriteEvent> {
  return mended(from(source.whole()), 'here').pipe(
    mergeMap((bytes) => {
      const checksum = new Checksum(spec.checksum);
      checksum.update(bytes);
      const { digest } = checksum;
      const done = mended(remote.receiveBytes(spec, bytes, digest), name).pipe(map((): WriteEvent => ['done', digest, bytes.length]));
      return concat(of<WriteEvent>(['head', bytes.length]), done);
    }),
  );
}

/** @param again - whether there may be a part of it: then the other end says first what it has */
function pushItems({ name, remote }: Peer, source: FileSource, spec: WriteSpec, again: boolean): Observable<WriteEvent> {
  return new Observable<WriteEvent>((subscriber) => {
    let tell: (part: FilePart) => void = () => undefined;
    const part = again ? new Promise<FilePart>((resolve) => (tell = resolve)) : undefined;
    // What fails here comes back as if it had failed there.
    let ours: unknown;
    async function* items(): AsyncGenerator<FileItem, undefined> {
      try {
        yield* source.items(spec.checksum, await part, true);
      } catch (error) {
        ours = fileError(error, 'here');
        throw error;
      }
    }
    return remote
      .receiveFile(spec, stream(items()))
      .pipe(
        tap((event) => {
          if (event[0] === 'part') tell(event[1]);
        }),
        catchError((error: unknown) => throwError(() => ours ?? fileError(error, name))),
      )
      .subscribe(subscriber);
  });
}
