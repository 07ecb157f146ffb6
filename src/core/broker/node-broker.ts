import { availableParallelism } from 'node:os';
import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import { SchedulerBase } from './broker.ts';
import type { Broker, ClearTimer, Fault } from './broker.ts';

/** Milliseconds (25 days); a longer timer of Node's would fire at once. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** The real broker: libuv's clock, timers and readiness. The only place of the library that touches timers. */
export class NodeBroker extends SchedulerBase implements Broker {
  readonly processors: number = availableParallelism();
  readonly faults: Observable<Fault>;
  readonly #faults = new Subject<Fault>();

  constructor() {
    super();
    this.faults = this.#faults.asObservable();
  }

  now(): number {
    return performance.now();
  }

  defer(work: () => void): void {
    process.nextTick(this.#guarded, work);
  }

  readonly #guarded = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      this.report(error, 'deferred work');
    }
  };

  readonly report = (error: unknown, where: string): void => {
    this.#faults.next({ error, where });
  };

  protected setTimer(delayMs: number, fire: () => void): ClearTimer {
    if (delayMs === 0) {
      const immediate = setImmediate(fire);
      return () => {
        clearImmediate(immediate);
      };
    }
    if (delayMs > MAX_TIMEOUT) {
      let clear = this.setTimer(MAX_TIMEOUT, () => {
        clear = this.setTimer(delayMs - MAX_TIMEOUT, fire);
      });
      return () => {
        clear();
      };
    }
    const timer = setTimeout(fire, delayMs);
    return () => {
      clearTimeout(timer);
    };
  }
}
