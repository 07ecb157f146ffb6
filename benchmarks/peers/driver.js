// How a candidate is driven. Each candidate has a process of its own, so that none inherits the heap, the compiled code
// or the timers of another. It reads one JSON command a line on stdin, and answers each with one JSON line on stdout.
import { createInterface } from 'node:readline';

export const microseconds = () => Number(process.hrtime.bigint()) / 1e3;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Microseconds of the median call of `count` calls, one at a time. */
export async function oneAtATime(count, call) {
  const times = [];
  for (let index = 0; index < count; index++) {
    const begun = microseconds();
    await call(index);
    times.push(microseconds() - begun);
  }
  return median(times);
}

/**
 * Calls per second with `depth` calls in flight. `call(index, done)` starts one and calls `done` at its end.
 *
 * A plain pump that starts the next call where one completes, not RxJS's mergeMap(..., depth): that one keeps its inner
 * subscriptions in an array which it searches at each end, so at a depth of 1000 its own cost (quadratic in the depth)
 * would be much of what is measured.
 */
export function pump(count, depth, call) {
  return new Promise((resolve) => {
    const begun = microseconds();
    let started = 0;
    let ended = 0;
    let inFlight = 0;
    const fill = () => {
      while (inFlight < depth && started < count) {
        inFlight++;
        call(started++, done);
      }
    };
    const done = () => {
      inFlight--;
      if (++ended === count) resolve((count / (microseconds() - begun)) * 1e6);
      else fill();
    };
    fill();
  });
}

/** MB (10^6 bytes) per second. */
export const rate = (bytes, us) => bytes / us;

/** Serves commands until stdin ends, then closes. */
export async function serve(commands, close = async () => {}) {
  const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  answer({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, ...options } = JSON.parse(line);
    try {
      answer({ value: await commands[command](options) });
    } catch (error) {
      answer({ error: String(error?.stack ?? error) });
    }
  }
  await close();
  process.exit(0);
}
