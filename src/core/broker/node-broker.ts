import { Subject } from 'rxjs';
import type { Observable } from 'rxjs';
import { SchedulerBase } from './broker.ts';
import type { Broker, ClearTimer, Fault } from './broker.ts';

/** The real broker: libuv's clock, timers and readiness. The only place of the library that touches timers. */
export class NodeBroker extends SchedulerBase implements Broker {
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
    process.nextTick(work);
  }

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
    const timer = setTimeout(fire, delayMs);
    return () => {
      clearTimeout(timer);
    };
  }
}
