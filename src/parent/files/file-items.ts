import { createHash } from 'node:crypto';
import { concat, concatMap, defer, isObservable, of, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import { Secret } from '../../core/wire/secret.ts';
import { cut } from '../../remote/chunks.ts';
import type { FileHead, FileItem } from '../../remote/files/protocol.ts';
import { bytesOf, pieces } from '../byte-source.ts';
import type { ByteSource } from '../byte-source.ts';

const HEAD: FileHead = { size: Infinity, mode: 0, uid: 0, gid: 0, mtimeMs: 0, atimeMs: 0, offset: 0 };

/** Bytes from anywhere as a file is sent, whose size is known at the end. */
export function fileItems(source: ByteSource): AsyncIterable<FileItem> | Observable<FileItem> {
  const plain = source instanceof Secret ? source.reveal() : source;
  if (isObservable(plain)) {
    return defer(() => {
      const hash = createHash('sha256');
      const bytes = plain.pipe(
        concatMap((piece) => cut(bytesOf(piece))),
        tap((piece) => {
          hash.update(piece);
        }),
      );
      return concat(of<FileItem>(HEAD), bytes, defer(() => of<FileItem>({ sha256: hash.digest('hex') })));
    });
  }
  return items(typeof plain === 'string' || plain instanceof Uint8Array ? [plain] : plain);
}

async function* items(source: Parameters<typeof pieces>[0]): AsyncGenerator<FileItem, undefined> {
  const hash = createHash('sha256');
  yield HEAD;
  for await (const piece of pieces(source)) {
    hash.update(piece);
    yield piece;
  }
  yield { sha256: hash.digest('hex') };
}
