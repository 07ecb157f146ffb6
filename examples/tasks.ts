// An ordinary module. Nothing in it is registered, decorated or bundled; the other side gets it when it is first called.
import os from 'node:os';
import { currentCall, log } from 'tendril';
import { interval, map, take } from 'rxjs';
import type { Observable } from 'rxjs';

export interface Facts {
  readonly pid: number;
  readonly node: string;
  readonly title: string;
}

export function facts(): Facts {
  return { pid: process.pid, node: process.version, title: process.title };
}

export function fibonacci(n: number): number {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

/** The load average once every `periodMs`, so many times. */
export function load(periodMs: number, times: number): Observable<number> {
  return interval(periodMs).pipe(
    map(() => os.loadavg()[0] ?? 0),
    take(times),
  );
}

export function speak(): void {
  log.warn('a log record of the remote function');
  console.log('a console.log of the remote function');
}

/** Would run for ever. */
export async function forever(): Promise<void> {
  const { signal } = currentCall();
  console.log('started; this would run for ever');
  await new Promise((resolve) => {
    signal.addEventListener('abort', resolve);
  });
  console.log('the caller has left, so we clean up');
}
