import { Observable, Subject } from 'rxjs';
import type { Report } from '../../core/mailbox/guarded-observable.ts';
import { GuardedObservable } from '../../core/mailbox/guarded-observable.ts';

/** A context of the tree, as those above it know it. */
export interface ContextInfo {
  readonly id: number;
  readonly name: string;
  /** ID of the context that it is a child of. */
  readonly via: number;
  readonly state: 'connecting' | 'connected';
  /** Version of Node there, such as `v20.20.2`; empty until it is connected. */
  readonly nodeVersion: string;
}

/** What is new of a context; or the ID of one that is gone. */
export type ContextNews = ContextInfo | number;

/** Which contexts there are behind this one, whoever has made them. */
export class ContextDirectory {
  /**
   * All of them, in the order in which they were heard of: at once on subscription, then again with each change. An array
   * never changes once it was given.
   */
  readonly changes: Observable<readonly ContextInfo[]>;
  readonly #contexts = new Map<number, ContextInfo>();
  readonly #changed = new Subject<number>();
  /** What subscribers have not seen yet: a subscriber may cause the next change. */
  readonly #queue: (readonly ContextInfo[])[] = [];
  #version = 0;
  /** Takes each change for the other thread of this context. */
  watcher: ((news: ContextNews) => void) | undefined;

  /** @param begin - called for each subscriber first; sees that everything is here that is known elsewhere */
  constructor(report: Report, begin: () => void = () => undefined) {
    this.changes = new GuardedObservable(report, 'subscriber of the contexts of a router', (subscriber) => {
      begin();
      const since = this.#version;
      subscriber.next(this.all);
      subscriber.add(this.#changed.subscribe({
        next: (version) => {
          const [contexts] = this.#queue;
          if (version > since && contexts) subscriber.next(contexts);
        },
        complete: () => {
          subscriber.complete();
        },
      }));
    });
  }

  get all(): readonly ContextInfo[] {
    return [...this.#contexts.values()];
  }

  /** A context begins to connect; harmless when it is known. */
  add(id: number, name: string, via: number): void {
    if (!this.#contexts.has(id)) this.#put({ id, name, via, state: 'connecting', nodeVersion: '' });
  }

  /** It is connected. */
  connected(id: number, nodeVersion: string): void {
    const known = this.#contexts.get(id);
    if (known?.state === 'connecting') this.#put({ ...known, state: 'connected', nodeVersion });
  }

  delete(id: number): void {
    if (this.#contexts.delete(id)) this.#tell(id);
  }

  /** Takes what another directory has told its watcher. */
  take(news: ContextNews): void {
    if (typeof news === 'number') {
      this.delete(news);
      return;
    }
    const { id, name, via, state, nodeVersion } = news;
    this.add(id, name, via);
    if (state === 'connected') this.connected(id, nodeVersion);
  }

  /** Nothing changes any more. */
  close(): void {
    this.#changed.complete();
  }

  #put(info: ContextInfo): void {
    this.#contexts.set(info.id, info);
    this.#tell(info);
  }

  #tell(news: ContextNews): void {
    this.#version++;
    this.watcher?.(news);
    if (!this.#changed.observed) return;
    this.#queue.push(this.all);
    if (this.#queue.length > 1) return;
    while (this.#queue.length > 0) {
      this.#changed.next(this.#version - this.#queue.length + 1);
      this.#queue.shift();
    }
  }
}
