// A service that the benchmarks call in a Tendril child and in a master. Apart from tasks.js: it imports the library.
import { allowAny, parent } from 'tendril';

/** A service, for master and child: the state is a number. */
export class Adder {
  static methods = { add: { policy: allowAny } };

  sum = 0;

  add(a, b) {
    this.sum = a + b;
    return this.sum;
  }
}

/** Calls the service of the master so many times, one at a time, and gives the median in microseconds. */
export async function callUp(count) {
  const client = parent.service(Adder);
  const times = [];
  for (let index = 0; index < count; index++) {
    const begun = process.hrtime.bigint();
    await new Promise((resolve, reject) => client.add(index, 1).subscribe({ next: resolve, error: reject }));
    times.push(Number(process.hrtime.bigint() - begun) / 1000);
  }
  return times.sort((a, b) => a - b)[count >> 1];
}
