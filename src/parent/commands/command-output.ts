import { RemoteStream } from '../../core/call/remote-stream.ts';
import type { Connect } from '../../core/call/remote-stream.ts';
import type { Report } from '../../core/mailbox/guarded-observable.ts';
import { LineSplitter } from '../../core/stdio/lines.ts';
import { expand } from '../expand.ts';

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
    return expand<Uint8Array, string>(this, this.#report, 'subscriber of the lines of a command', () => {
      let lines: string[] = [];
      const splitter = new LineSplitter((line) => lines.push(line));
      const taken = (): string[] => {
        const some = lines;
        lines = [];
        return some;
      };
      return {
        each: (chunk) => {
          splitter.push(chunk);
          return taken();
        },
        end: () => {
          splitter.end();
          return taken();
        },
      };
    });
  }
}
