import { RemoteStream } from '../../core/call/remote-stream.ts';
import type { Connect, Delivery } from '../../core/call/remote-stream.ts';
import type { Report } from '../../core/mailbox/guarded-observable.ts';
import { LineSplitter } from '../../core/stdio/lines.ts';

/**
 * What a command writes, as it comes: bytes with flow control, so that a command which writes faster than its reader reads
 * waits, as it would in a pipe.
 */
// RxJS asks not to subclass; a RemoteStream is one already.
// eslint-disable-next-line rxjs-x/no-subclass
export class CommandOutput extends RemoteStream<Uint8Array> {
  readonly #report: Report;

  /** @internal */
  constructor(report: Report, where: string, connect: Connect) {
    super(report, where, connect);
    this.#report = report;
  }

  /**
   * Its lines, without their ends, as UTF-8; what is not UTF-8 is replaced, and a line that does not end is cut at 65,536
   * characters. Reads the same output: take either the bytes or the lines.
   */
  lines(): RemoteStream<string> {
    return new RemoteStream<string>(this.#report, 'subscriber of the lines of a command', (subscriber, manual, [values, bytes]) => {
      const source = this.windowed({ values, bytes });
      // Of the chunk that is cut now.
      let lines: string[] = [];
      const splitter = new LineSplitter((line) => lines.push(line));
      const cut = (chunk?: Uint8Array): string[] => {
        lines = [];
        if (chunk) splitter.push(chunk);
        else splitter.end();
        return lines;
      };
      const error = (thrown: unknown): void => {
        subscriber.error(thrown);
      };
      if (!manual) {
        const give = (some: readonly string[]): void => {
          for (const line of some) subscriber.next(line);
        };
        return source.subscribe({
          next: (chunk) => {
            give(cut(chunk));
          },
          error,
          complete: () => {
            give(cut());
            subscriber.complete();
          },
        });
      }
      return source.deliveries().subscribe({
        next: (delivery) => {
          for (const line of shared(cut(delivery.value), delivery)) subscriber.next(line);
        },
        error,
        complete: () => {
          for (const line of shared(cut(), undefined)) subscriber.next(line);
          subscriber.complete();
        },
      });
    });
  }
}

/** Values that came in one: its credit goes back when the last of them is done with. */
function shared(lines: readonly string[], chunk: Delivery<Uint8Array> | undefined): Delivery<string>[] {
  let left = lines.length;
  if (left === 0) chunk?.done();
  return lines.map((value) => {
    let given = false;
    return {
      value,
      done: () => {
        if (given) return;
        given = true;
        if (--left === 0) chunk?.done();
      },
    };
  });
}
