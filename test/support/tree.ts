import { readFileSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect } from '@jest/globals';
import { ReplaySubject, filter, firstValueFrom, timeout } from 'rxjs';
import type { Observable } from 'rxjs';
import { Master } from 'tendril';
import type { ConnectedContext, LogRecord, MasterOptions } from 'tendril';

/** A master for one test, with what it logged. */
export interface Tree {
  readonly master: Master;
  readonly records: LogRecord[];
  /** The next record (or one that has come already) that fits. */
  logged(fits: (record: LogRecord) => boolean): Promise<LogRecord>;
}

const MARK = 'TENDRIL_TEST_MARK';

/** Every process on this machine that was started by this test, wherever it hangs in the process tree. */
export function startedProcesses(): string[] {
  const mark = `${MARK}=${process.env[MARK] ?? ''}`;
  const found: string[] = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      if (readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark)) found.push(`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')}`);
    } catch {
      // It has just ended.
    }
  }
  return found;
}

function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

function timers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
}

/**
 * Checks around every test of the file that nothing is left behind: no process (found by a mark in its environment), no
 * file descriptor, no timer.
 */
export function watchForLeaks(): void {
  let fds = 0;
  let before = 0;
  beforeEach(() => {
    process.env[MARK] = `${String(process.pid)}-${String(Math.random())}`;
    fds = openFds();
    before = timers();
  });
  afterEach(async () => {
    // Sockets that were destroyed are closed in the next turns of the loop.
    for (let turn = 0; turn < 200 && (openFds() > fds || timers() > before || startedProcesses().length > 0); turn++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(startedProcesses()).toEqual([]);
    expect(openFds()).toBeLessThanOrEqual(fds);
    expect(timers()).toBeLessThanOrEqual(before);
  });
}

/** Runs a test with a master that is shut down afterwards, also when the test fails. */
export async function withTree(options: MasterOptions, test: (tree: Tree) => Promise<void>): Promise<void> {
  const all = new ReplaySubject<LogRecord>(Infinity);
  const records: LogRecord[] = [];
  const master = new Master({ logger: { log: () => undefined }, ...options });
  master.logs.subscribe((record) => {
    records.push(record);
    all.next(record);
  });
  const logged = (fits: (record: LogRecord) => boolean): Promise<LogRecord> => first(all.pipe(filter(fits)));
  try {
    await test({ master, records, logged });
  } finally {
    await master.shutdown();
  }
}

/** The first value; fails instead of hanging when none comes. */
export function first<T>(source: Observable<T>): Promise<T> {
  return firstValueFrom(source.pipe(timeout(20_000)));
}

/** Waits for the end of a process that ends by itself, because what it was started by is gone. */
export async function ended(pid: number): Promise<void> {
  for (let turn = 0; turn < 2000; turn++) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`process ${String(pid)} is still there`);
}

/** The error of an observable that must fail. */
export function failure(source: Observable<unknown>): Promise<Error & { code?: string }> {
  return new Promise((resolve, reject) => {
    source.pipe(timeout(20_000)).subscribe({
      error: resolve,
      complete: () => {
        reject(new Error('it completed, where an error was expected'));
      },
    });
  });
}

/** Runs a test with a local child. */
export function withChild(test: (context: ConnectedContext, tree: Tree) => Promise<void>, options: MasterOptions = {}): () => Promise<void> {
  return () => withTree(options, (tree) => test(tree.master.local({ name: 'kid' }), tree));
}
