import type { Report } from '../core/mailbox/guarded-observable.ts';
import { RemoteStream } from '../core/call/remote-stream.ts';
import { UsageError } from '../core/errors.ts';
import { TAG_STREAM, WIRE } from '../core/wire/tags.ts';
import type { Destination, Wired } from '../core/wire/tags.ts';
import { Producer } from './producer.ts';
import { relayed } from './relayed.ts';
import { consume, quiet, sourceOf } from './source.ts';
import type { Source, StreamInput } from './source.ts';

/**
 * Makes something that can be sent of a source of values: as an argument of a call or inside of one, in a message, and
 * inside of a result. It arrives as a {@link RemoteStream}, and nothing of the source is asked for before someone there
 * consumes it. Async iterables (generators, Readables of Node) are paused while the consumer has enough; an Observable
 * cannot be, and fails with ERR_TENDRIL_OVERFLOW when too much waits.
 *
 * It is for one consumer, once. As an argument it is taken back when the call ends and nobody has opened it, and stopped
 * when the call fails or is cancelled. Otherwise it is taken back when the context that it was sent to is gone.
 *
 * Where it is made it is the source itself, so that functions which take streams can be called as they are.
 *
 * @param source - an async iterable, a Readable of Node, an Observable, or an iterable such as an array. Throws a UsageError for others
 */
export function stream<T>(source: StreamInput<T>): RemoteStream<T> {
  return new LocalStream<T>(sourceOf(source));
}

const throwLater: Report = (error) => {
  queueMicrotask(() => {
    throw error;
  });
};

// As every RemoteStream.
// eslint-disable-next-line rxjs-x/no-subclass
class LocalStream<T> extends RemoteStream<T> implements Wired {
  readonly #origin: Source<T>;
  #sent: { readonly to: Destination; readonly producer: Producer } | undefined;

  constructor(origin: Source<T>) {
    super(throwLater, 'subscriber of a stream', (subscriber, manual) => consume(origin, subscriber, manual));
    quiet(origin);
    this.#origin = origin;
  }

  [WIRE](to?: Destination): { tag: number; content: unknown } {
    if (to === undefined) throw new UsageError('ERR_TENDRIL_STREAM_PLACE', 'a stream was sent where streams cannot be: send it as an argument of a call, in a message, or in a result');
    if (relayed.has(to.router)) throw new UsageError('ERR_TENDRIL_STREAM_PLACE', 'a process that has joined a tree by attach() is seen as its listener, so that its streams cannot be found: have a function in the tree make them');
    // A value that cannot be encoded is looked at again, for what is wrong.
    if (this.#sent?.to !== to) {
      if (this.#sent?.producer.unused === false) throw new UsageError('ERR_TENDRIL_STREAM_USED', 'a stream can be sent once; make another one of a new source, for each attempt of a call with defer(() => context.call(fn, stream(...)))');
      this.#sent = { to, producer: new Producer(this.#origin, to) };
    }
    return { tag: TAG_STREAM, content: [to.router.id, this.#sent.producer.handle] };
  }
}
