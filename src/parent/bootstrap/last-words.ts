import { Subscription } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { classifyExit } from '../connection/classify-exit.ts';
import type { ConnectError, ConnectPhase } from '../connection/connect-error.ts';
import type { ExitStatus, Transport } from '../connection/transport.ts';

/** Characters of output that are kept for an error. */
export const MAX_OUTPUT = 4096;
/** How long the end of a failed process and its last output are waited for. */
const LAST_WORDS_MS = 1000;

/**
 * Watches a process that boots for its end. An error without the exit status and the last output would hide the reason,
 * so both are waited for.
 */
export class LastWords {
  /** What it has printed, one character a byte. */
  output = '';
  readonly #transport: Transport;
  readonly #broker: Broker;
  readonly #onEnd: () => void;
  #exit: ExitStatus | undefined;
  #outputDone = false;
  #ending: Subscription | undefined;

  /** @param onEnd - called once when the process has ended by itself; {@link LastWords.error} then says why */
  constructor(transport: Transport, broker: Broker, onEnd: () => void) {
    this.#transport = transport;
    this.#broker = broker;
    this.#onEnd = onEnd;
  }

  /** Begins; unsubscribe when the process has booted, or failed otherwise. */
  watch(): Subscription {
    const { output, exited } = this.#transport;
    const watching = output.subscribe({
      next: ({ bytes }) => {
        this.output = (this.output + Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')).slice(-MAX_OUTPUT);
      },
      complete: () => {
        this.#outputDone = true;
        if (this.#exit !== undefined) this.#onEnd();
      },
    });
    const whole = new Subscription(() => {
      watching.unsubscribe();
      this.#ending?.unsubscribe();
    });
    whole.add(exited.subscribe((status) => {
      this.#exit = status;
      this.linkEnded();
    }));
    return whole;
  }

  /** The protocol has ended, and with it soon the process. */
  linkEnded(): void {
    if (this.#exit !== undefined && this.#outputDone) this.#onEnd();
    else this.#ending ??= this.#broker.after(LAST_WORDS_MS, this.#onEnd);
  }

  /** Why it ended. */
  error(phase: ConnectPhase, output: string): ConnectError {
    const evidence = { phase, output, exit: this.#exit };
    return this.#transport.explain?.(evidence) ?? classifyExit(evidence);
  }
}
