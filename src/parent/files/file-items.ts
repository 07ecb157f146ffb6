import { concat, concatMap, defer, isObservable, of, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import { Secret } from '../../core/wire/secret.ts';
import { cut } from '../../remote/chunks.ts';
import { Checksum } from '../../remote/files/checksum.ts';
import type { ChecksumKind } from '../../remote/files/checksum.ts';
import type { FileHead, FileItem } from '../../remote/files/protocol.ts';
import { bytesOf, pieces } from '../byte-source.ts';
import type { ByteSource } from '../byte-source.ts';

const HEAD: FileHead = { size: Infinity, mode: 0, uid: 0, gid: 0, mtimeMs: 0, atimeMs: 0, offset: 0 };

/** Bytes from anywhere as a file is sent, whose size is known at the end. */
export function fileItems(source: ByteSource, kind: ChecksumKind): AsyncIterable<FileItem> | Observable<FileItem> {
  const plain = source instanceof Secret ? source.reveal() : source;
  if (isObservable(plain)) {
    return defer(() => {
      const checksum = new Checksum(kind);
      const bytes = plain.pipe(
        concatMap((piece) => cut(bytesOf(piece))),
        tap((piece) => {
          checksum.update(piece);
        }),
      );
      return concat(of<FileItem>(HEAD), bytes, defer(() => of<FileItem>({ checksum: checksum.digest })));
    });
  }
  return items(typeof plain === 'string' || plain instanceof Uint8Array ? [plain] : plain, kind);
}

async function* items(source: Parameters<typeof pieces>[0], kind: ChecksumKind): AsyncGenerator<FileItem, undefined> {
  const checksum = new Checksum(kind);
  yield HEAD;
  for await (const piece of pieces(source)) {
    checksum.update(piece);
    yield piece;
  }
  yield { checksum: checksum.digest };
}
