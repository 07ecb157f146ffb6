/** Those who are to be told that a signal is aborted, and the one listener that does it. */
interface Audience {
  readonly works: Set<() => void>;
  readonly tell: () => void;
}

const audiences = new WeakMap<AbortSignal, Audience>();

/**
 * Runs `work` when the signal is aborted; the result withdraws it. All share one listener, because Node warns of a signal
 * that has more than ten, and one signal may end a thousand calls.
 */
export function onAbort(signal: AbortSignal, work: () => void): () => void {
  const { works } = audiences.get(signal) ?? gather(signal);
  works.add(work);
  return () => {
    works.delete(work);
    const audience = audiences.get(signal);
    if (works.size > 0 || audience?.works !== works) return;
    audiences.delete(signal);
    signal.removeEventListener('abort', audience.tell);
  };
}

function gather(signal: AbortSignal): Audience {
  const works = new Set<() => void>();
  const tell = (): void => {
    for (const work of [...works]) work();
  };
  const audience = { works, tell };
  audiences.set(signal, audience);
  signal.addEventListener('abort', tell);
  return audience;
}
