import type { ChecksumKind } from './checksum.ts';
import type { FileItem, FilePart } from './protocol.ts';
import { FileSource } from './source.ts';

/** A file as it is sent. */
export async function* sendFile(path: string, follow: boolean, kind: ChecksumKind, part: FilePart | null): AsyncGenerator<FileItem, undefined> {
  const source = await FileSource.open(path, follow);
  yield* source.items(kind, part ?? undefined, true);
}
