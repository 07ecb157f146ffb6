import type { FileItem, FilePart } from './protocol.ts';
import { FileSource } from './source.ts';

/** A file as it is sent. */
export async function* sendFile(path: string, follow: boolean, part: FilePart | null): AsyncGenerator<FileItem, undefined> {
  const source = await FileSource.open(path, follow);
  yield* source.items(part ?? undefined);
}
