import { join } from 'node:path';
import { concat, defer, from, ignoreElements, map, merge, mergeMap, of, reduce, tap } from 'rxjs';
import type { Observable } from 'rxjs';
import type { TreeEntry, WriteEvent } from '../../remote/files/protocol.ts';
import { listTree, makeDirectories, makeLinks, setDirectories } from '../../remote/files/tree.ts';
import { LARGE_CONCURRENCY, SMALL_CONCURRENCY } from './file-options.ts';
import type { TransferOptions, TransferProgress } from './file-options.ts';
import { pullFile } from './pull-file.ts';
import { pushFile } from './push-file.ts';
import { Tally } from './tally.ts';
import { iterated, mended, resuming } from './transfer.ts';
import type { Peer } from './transfer.ts';
import { TreePlan } from './tree-plan.ts';

/** The two ends of a transfer of a directory. */
interface Ends {
  readonly listing: Observable<readonly TreeEntry[]>;
  /** Where it is listed, and where it is written, for errors. */
  readonly from: string;
  makeDirectories(paths: readonly string[]): Observable<readonly string[]>;
  makeLinks(links: TreePlan['links']): Observable<unknown>;
  setDirectories(attributes: TreePlan['attributes']): Observable<unknown>;
  file(path: string): Observable<WriteEvent>;
}

/** Writes a directory of this process there. */
export function pushTree(peer: Peer, local: string, path: string, options: TransferOptions): Observable<TransferProgress> {
  const { remote, name } = peer;
  const follow = options.symlinks === 'follow';
  const again = <T>(call: () => Observable<T>): Observable<T> => mended(resuming(peer, call), name);
  return transfer(options, {
    listing: mended(defer(() => iterated(listTree(local, follow))), 'here'),
    from: 'here',
    makeDirectories: (paths) => again(() => remote.makeDirectories(path, paths)),
    makeLinks: (links) => again(() => remote.makeLinks(path, links)),
    setDirectories: (attributes) => again(() => remote.setDirectories(path, attributes)),
    file: (file) => pushFile(peer, join(local, file), `${path}/${file}`, options, follow),
  });
}

/** Reads a directory there, and writes it here. */
export function pullTree(peer: Peer, path: string, local: string, options: TransferOptions): Observable<TransferProgress> {
  const follow = options.symlinks === 'follow';
  const here = <T>(work: () => Promise<T>): Observable<T> => mended(defer(work), 'here');
  return transfer(options, {
    listing: mended(peer.remote.listTree(path, follow), peer.name),
    from: peer.name,
    makeDirectories: (paths) => here(() => makeDirectories(local, paths)),
    makeLinks: (links) => here(() => makeLinks(local, links)),
    setDirectories: (attributes) => here(() => setDirectories(local, attributes)),
    file: (file) => pullFile(peer, `${path}/${file}`, join(local, file), options, follow),
  });
}

/**
 * Directories first, then files, then symbolic links, so that nothing is ever written through a link that came with the
 * list; the attributes of directories last.
 */
function transfer(options: TransferOptions, ends: Ends): Observable<TransferProgress> {
  const plan = defer(() =>
    ends.listing.pipe(
      reduce((made, entries) => {
        made.add(entries);
        return made;
      }, new TreePlan(ends.from, options)),
    ),
  );
  return plan.pipe(
    mergeMap((tree) => {
      let made: ReadonlySet<string> = new Set();
      const tally = new Tally(tree.files, tree.bytes, tree.skipped);
      const files = (some: readonly { readonly path: string }[], concurrency: number): Observable<TransferProgress> => from(some).pipe(mergeMap(({ path }) => tally.count(ends.file(path)), concurrency));
      const silent = (work: Observable<unknown>): Observable<never> => work.pipe(ignoreElements());
      return concat(
        silent(ends.makeDirectories(tree.directories).pipe(tap((some) => { made = new Set(some); }))),
        merge(files(tree.small, SMALL_CONCURRENCY), files(tree.large, options.concurrency ?? LARGE_CONCURRENCY)),
        tree.links.length > 0 ? silent(ends.makeLinks(tree.links)) : of(),
        // Those that were there before keep what they have.
        defer(() => silent(ends.setDirectories(tree.attributes.filter(([path]) => made.has(path))))),
        of(true).pipe(map(() => tally.done())),
      );
    }),
  );
}
