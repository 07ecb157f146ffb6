import type { Subscription } from 'rxjs';
import { NodeBroker } from '../../src/core/broker/node-broker.ts';
import type { Fault } from '../../src/core/broker/broker.ts';

/** The real broker, which also tells what was left behind with it. */
export class CountingBroker extends NodeBroker {
  readonly reported: Fault[] = [];
  readonly #timers = new Set<Subscription>();

  constructor() {
    super();
    this.faults.subscribe((fault) => this.reported.push(fault));
  }

  /** Timers that neither fired nor were cancelled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  override after(delayMs: number, work: () => void): Subscription {
    const timer = super.after(delayMs, work);
    this.#timers.add(timer);
    timer.add(() => this.#timers.delete(timer));
    return timer;
  }
}
