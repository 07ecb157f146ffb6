import { stat } from 'node:fs/promises';
import { defer, from, mergeMap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { RemoteStream } from '../../core/call/remote-stream.ts';
import { guarded } from '../../core/mailbox/guarded-observable.ts';
import { stream } from '../../flow/stream.ts';
import { fault } from '../../remote/fault.ts';
import { Checksum } from '../../remote/files/checksum.ts';
import { checkItem } from '../../remote/files/check.ts';
import { fileFault } from '../../remote/files/file-fault.ts';
import type { FileHead } from '../../remote/files/protocol.ts';
import type { ByteSource } from '../byte-source.ts';
import { expand } from '../expand.ts';
import { aborted } from './aborted.ts';
import { fileError } from './file-error.ts';
import { checkTransfer } from './file-options.ts';
import type { TransferOptions, TransferProgress, WriteOptions } from './file-options.ts';
import { fileItems } from './file-items.ts';
import { pullFile } from './pull-file.ts';
import { pushFile } from './push-file.ts';
import { Tally } from './tally.ts';
import { mended, writeSpec } from './transfer.ts';
import type { Peer } from './transfer.ts';
import { pullTree, pushTree } from './tree.ts';

/** Permission bits of a file that no other file has given any. */
const PLAIN_MODE = 0o644;

/** See {@link RemoteContext.push}. */
export function push(peer: Peer, local: string, remote: string, options: TransferOptions): Observable<TransferProgress> {
  checkTransfer('push', remote, options);
  const transfer = defer(() => mended(from(stat(local).catch((error: unknown) => Promise.reject(fileFault(error, local)))), 'here')).pipe(
    mergeMap((stats) => (stats.isDirectory() ? pushTree(peer, local, remote, options) : new Tally(1, stats.size).count(pushFile(peer, local, remote, options, true), true))),
  );
  return guarded(aborted(transfer, options.signal), peer.report, 'subscriber of a push');
}

/** See {@link RemoteContext.pull}. */
export function pull(peer: Peer, remote: string, local: string, options: TransferOptions): Observable<TransferProgress> {
  checkTransfer('pull', remote, options);
  const transfer = defer(() => mended(peer.remote.isDirectory(remote), peer.name)).pipe(
    mergeMap((directory) => (directory ? pullTree(peer, remote, local, options) : new Tally(1, undefined).count(pullFile(peer, remote, local, options, true), true))),
  );
  return guarded(aborted(transfer, options.signal), peer.report, 'subscriber of a pull');
}

/** See {@link RemoteContext.read}. */
export function read(peer: Peer, remote: string): RemoteStream<Uint8Array> {
  checkTransfer('read', remote, {});
  const spec = writeSpec(remote, {}, { mode: PLAIN_MODE }, false);
  return expand(peer.remote.sendFile(remote, true, spec.checksum, null), peer.report, 'subscriber of the bytes of a file', () => {
    let head: FileHead | undefined;
    let received = 0;
    const checksum = new Checksum(spec.checksum);
    return {
      each: (given) => {
        const item = checkItem(given, spec, head, received);
        if (item instanceof Uint8Array) {
          received += item.length;
          checksum.update(item);
          return [item];
        }
        if ('checksum' in item) {
          if (item.checksum !== checksum.digest) throw fault('ERR_TENDRIL_FILE_CHECKSUM', `${remote}: what has arrived is not what was sent`);
        } else head = item;
        return [];
      },
      end: () => [],
    };
  }, (error) => fileError(error, peer.name));
}

/** See {@link RemoteContext.write}. */
export function write(peer: Peer, remote: string, source: ByteSource, options: WriteOptions): Observable<TransferProgress> {
  checkTransfer('write', remote, options);
  const { mode = PLAIN_MODE, owner } = options;
  const { uid, gid } = typeof owner === 'object' ? owner : {};
  const spec = writeSpec(remote, options, { mode, ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) }, false);
  const transfer = defer(() => new Tally(1, undefined).count(mended(peer.remote.receiveFile(spec, stream(fileItems(source, spec.checksum))), peer.name), true));
  return guarded(transfer, peer.report, 'subscriber of a write');
}
