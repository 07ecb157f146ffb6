import { Observable } from 'rxjs';

/** With the reason of a signal as its error when that is aborted. */
export function aborted<T>(source: Observable<T>, signal: AbortSignal | undefined): Observable<T> {
  if (signal === undefined) return source;
  return new Observable<T>((subscriber) => {
    const abort = (): void => {
      subscriber.error(signal.reason);
    };
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener('abort', abort);
    subscriber.add(() => {
      signal.removeEventListener('abort', abort);
    });
    subscriber.add(source.subscribe(subscriber));
  });
}
