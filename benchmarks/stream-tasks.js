// Functions that the benchmarks of streams call in Tendril children.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Observable } from 'rxjs';
import { currentCall, router } from 'tendril';

const counts = { begun: 0, ended: 0 };

/** Gives bytes for as long as it is asked for some. */
export async function* bytes(size) {
  const same = Buffer.alloc(size, 7);
  for (;;) yield same;
}

export function pid() {
  return process.pid;
}

export function collect() {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

/** Numbers, as fast as they are asked for. */
export async function* numbers() {
  counts.begun++;
  try {
    for (let value = 0; ; value++) {
      if (value % 16 === 15) await new Promise((resolve) => { setImmediate(resolve); });
      yield value;
    }
  } finally {
    counts.ended++;
  }
}

/** The same as an observable that looks at the signal of its call. */
export function ticking() {
  const { signal } = currentCall();
  return new Observable((subscriber) => {
    counts.begun++;
    let timer;
    const tick = () => {
      subscriber.next(1);
      timer = setTimeout(tick, 1);
    };
    const end = () => { clearTimeout(timer); };
    signal.addEventListener('abort', end);
    tick();
    return () => {
      counts.ended++;
      signal.removeEventListener('abort', end);
      end();
    };
  });
}

/** Consumes a stream of its caller's, one value after another. */
export async function consumed(values) {
  counts.begun++;
  try {
    for await (const value of values) if (value < 0) return value;
    return 0;
  } finally {
    counts.ended++;
  }
}

/** What is there in this context that calls have left, and its memory without garbage. */
export async function left() {
  setFlagsFromString('--expose-gc');
  await new Promise((resolve) => { setTimeout(resolve, 100); });
  runInNewContext('gc')();
  return { ...counts, handles: router.handleCount, timers: process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length, rss: process.memoryUsage.rss() };
}
