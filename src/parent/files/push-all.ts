import { EMPTY, catchError, defer, filter, finalize, forkJoin, from, map, merge, mergeMap, of, take, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { RemoteStream } from '../../core/call/remote-stream.ts';
import { DecodeError } from '../../core/errors.ts';
import { guarded } from '../../core/mailbox/guarded-observable.ts';
import { TAG_STREAM, WIRE } from '../../core/wire/tags.ts';
import type { Wired } from '../../core/wire/tags.ts';
import { stream } from '../../flow/stream.ts';
import { watched } from '../../remote/feed.ts';
import type { FileInfo, FileItem } from '../../remote/files/protocol.ts';
import type { Tap } from '../../remote/files/relay.ts';
import { Tee } from '../../remote/files/tee.ts';
import type { ConnectedContext } from '../connected-context.ts';
import { fanOut } from './fan-out.ts';
import type { FanNode } from './fan-out.ts';
import { fileError } from './file-error.ts';
import { aborted } from './aborted.ts';
import { attributesOf, checkTransfer } from './file-options.ts';
import type { TransferOptions, TransferProgress } from './file-options.ts';
import { opened } from './push-file.ts';
import { Tally } from './tally.ts';
import { mended, writeSpec } from './transfer.ts';

/** How far one of many transfers is, or why it has failed. */
export type PushAllEvent = { readonly context: ConnectedContext; readonly progress: TransferProgress; readonly error: undefined } | { readonly context: ConnectedContext; readonly progress: undefined; readonly error: Error };

/** Anything that a file can be had from: a branch of our own, or one of a context's. */
type Feed = RemoteStream<FileItem>;

/**
 * Writes one file of this process to many contexts. Where the ways to them part in a context that is not this one, that
 * context gets the file once and passes it on to those behind it: it crosses each link once.
 *
 * Cold. Emits how far each context is, or its error: one that fails leaves the others alone. Completes when all of them
 * have it or have failed. Begins when all are connected or cannot be. All go at the speed of the slowest, and nobody on the
 * way keeps more of the file than a window of it. What is lost with a connection is not gone on with.
 *
 * Errors with a FileError when the file cannot be read here. Throws ERR_TENDRIL_BAD_OPTION.
 *
 * @param contexts - contexts of one master
 * @param local - a path here
 * @param remote - the absolute path that the file is to have in each of them
 */
export function pushAll(contexts: readonly ConnectedContext[], local: string, remote: string, options: TransferOptions = {}): Observable<PushAllEvent> {
  checkTransfer('pushAll', remote, options);
  const [any] = contexts;
  if (any === undefined) return EMPTY;
  const transfer = defer(() => {
    const lost: PushAllEvent[] = [];
    return forkJoin([...new Set(contexts)].map((context) => connected(context, lost))).pipe(
      mergeMap((found) => {
        const there = found.filter((context) => context !== undefined);
        return merge(from(lost), there.length === 0 ? EMPTY : opened(local, true, (source) => new Fan(source.info, remote, options, there).run(source.items(options.checksum ?? 'crc32'))));
      }),
    );
  });
  return guarded(aborted(transfer, options.signal), any.peer().report, 'subscriber of a push to many');
}

/** The context when it is connected; undefined, and noted, when it cannot be. */
function connected(context: ConnectedContext, lost: PushAllEvent[]): Observable<ConnectedContext | undefined> {
  return context.connected.pipe(
    take(1),
    map(() => context),
    catchError((error: unknown) => {
      lost.push({ context, progress: undefined, error: error as Error });
      return of(undefined);
    }),
  );
}

class Fan {
  readonly #info: FileInfo;
  readonly #remote: string;
  readonly #options: TransferOptions;
  readonly #roots: readonly FanNode<ConnectedContext>[];
  /** Those that have it, or have failed. */
  readonly #settled = new Set<ConnectedContext>();

  constructor(info: FileInfo, remote: string, options: TransferOptions, targets: readonly ConnectedContext[]) {
    this.#info = info;
    this.#remote = remote;
    this.#options = options;
    this.#roots = fanOut(targets, (context) => context.via as ConnectedContext | undefined);
  }

  run(items: AsyncIterable<FileItem>): Observable<PushAllEvent> {
    const tee = new Tee(items);
    const branches = this.#roots.map((node) => [node, tee.branch()] as const);
    let ours: unknown;
    return merge(
      ...branches.map(([node, branch]) => {
        const noted = watched(branch, (failure) => {
          if (failure) ours = fileError(failure.error, 'here');
        });
        return this.#node(node, stream(noted)).pipe(
          map((event) => (event.error && ours !== undefined ? { ...event, error: ours as Error } : event)),
          // One that is given up before it was sent holds nobody back.
          finalize(() => void branch.return?.()),
        );
      }),
    );
  }

  #node(node: FanNode<ConnectedContext>, feed: Feed): Observable<PushAllEvent> {
    const { context, wanted, children } = node;
    if (children.length === 0) return this.#leaf(context, feed);
    const { remote } = context.peer();
    const readers = [...(wanted ? [context] : []), ...children.map((child) => child.context)];
    // It is over when those behind it are.
    return remote.relayFile(feed, readers.map(({ id }) => id)).pipe(
      mergeMap((taps) => {
        const own = wanted ? this.#leaf(context, copyAt(context, taps[0])) : EMPTY;
        return merge(own, ...children.map((child, index) => this.#node(child, copyAt(context, taps[index + (wanted ? 1 : 0)]))));
      }),
      catchError((error: unknown) => from(targetsOf(node)).pipe(filter((target) => !this.#settled.has(target)), map((target) => failed(target, error)))),
    );
  }

  #leaf(context: ConnectedContext, feed: Feed): Observable<PushAllEvent> {
    const peer = context.peer();
    const spec = writeSpec(this.#remote, this.#options, attributesOf(this.#info, this.#options), false);
    return new Tally(1, this.#info.size).count(mended(peer.remote.receiveFile(spec, feed), peer.name), true).pipe(
      map((progress): PushAllEvent => ({ context, progress, error: undefined })),
      catchError((error: unknown) => of(failed(context, error))),
      tap(({ progress }) => {
        if (progress?.done !== false) this.#settled.add(context);
      }),
    );
  }
}

function failed(context: ConnectedContext, error: unknown): PushAllEvent {
  return { context, progress: undefined, error: error as Error };
}

/** Those who want it, of a node and all behind it. */
function targetsOf({ context, wanted, children }: FanNode<ConnectedContext>): ConnectedContext[] {
  return [...(wanted ? [context] : []), ...children.flatMap(targetsOf)];
}

/** A stream that waits in another context, for the context that it is now passed on to. */
function copyAt({ id }: ConnectedContext, given: Tap | undefined): Feed {
  const [contextId, handle] = given ?? [];
  if (contextId !== id || !Number.isInteger(handle)) throw new DecodeError('what a relay says of its copies is not valid');
  const reference: Wired = { [WIRE]: () => ({ tag: TAG_STREAM, content: [contextId, handle] }) };
  return reference as unknown as Feed;
}
