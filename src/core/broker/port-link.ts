import { receiveMessageOnPort } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { Observable } from 'rxjs';
import type { Link } from './broker.ts';
import { noteGarbage } from './garbage.ts';

/** Whether a part is all of its memory, so that the memory itself can go to the other thread. */
function isWhole(part: Uint8Array): boolean {
  return part.byteLength === part.buffer.byteLength;
}

/** Joins short neighbours, so that one turn makes few transfers; `own` says that long parts may be given away. */
export function transferable(parts: readonly Uint8Array[], own: boolean): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  let run: Uint8Array[] = [];
  let length = 0;
  const join = (): void => {
    if (length === 0) return;
    // Not zeroed: all of it is written at once.
    const joined = Buffer.allocUnsafeSlow(length);
    let offset = 0;
    for (const part of run) {
      joined.set(part, offset);
      offset += part.length;
    }
    buffers.push(joined.buffer);
    run = [];
    length = 0;
  };
  for (const part of parts) {
    if (own && isWhole(part)) {
      join();
      buffers.push(part.buffer as ArrayBuffer);
    } else {
      run.push(part);
      length += part.length;
    }
  }
  join();
  return buffers;
}

/** A link between the two threads of a context, over a MessagePort. Memory is transferred, not cloned. */
export class PortLink implements Link {
  readonly chunks: Observable<Uint8Array>;
  readonly volatile = false;
  readonly pendingBytes = 0;
  readonly drained: Observable<void>;
  readonly #port: MessagePort;
  readonly #own: boolean;
  readonly #posted: () => void;
  #take: (message: unknown) => void = () => undefined;
  /** Parts of a message that are still to be delivered: whoever is called for one may poll for the next. */
  readonly #parts: ArrayBuffer[] = [];
  #deliver: (part: Uint8Array) => void = () => undefined;

  /**
   * @param port - one end of a channel
   * @param own - true when long parts are this thread's to give away, as frames that only pass through are
   * @param onControl - takes messages that are not bytes
   * @param posted - told after each write, for a peer that may be blocked
   */
  constructor(port: MessagePort, own: boolean, onControl: (message: unknown) => void, posted: () => void = () => undefined) {
    this.#port = port;
    this.#own = own;
    this.#posted = posted;
    this.drained = new Observable((subscriber) => {
      subscriber.next();
      subscriber.complete();
    });
    this.chunks = new Observable((subscriber) => {
      const onMessage = (this.#take = (message: unknown): void => {
        if (!Array.isArray(message)) {
          onControl(message);
          return;
        }
        this.#parts.push(...(message as ArrayBuffer[]));
        for (const { byteLength } of message as ArrayBuffer[]) noteGarbage(byteLength);
        while (this.#deliverPart());
      });
      this.#deliver = (part) => {
        subscriber.next(part);
      };
      const onClose = (): void => {
        subscriber.complete();
      };
      port.on('message', onMessage).on('close', onClose);
      return () => {
        port.off('message', onMessage).off('close', onClose);
      };
    });
  }

  write(parts: readonly Uint8Array[], written?: () => void): void {
    const buffers = transferable(parts, this.#own);
    this.#port.postMessage(buffers, buffers);
    this.#posted();
    written?.();
  }

  #deliverPart(): boolean {
    const part = this.#parts.shift();
    if (part) this.#deliver(new Uint8Array(part));
    return part !== undefined;
  }

  /** Delivers what comes next, without the event loop; false when nothing is there. */
  poll(): boolean {
    if (this.#deliverPart()) return true;
    const received = receiveMessageOnPort(this.#port);
    if (received === undefined) return false;
    this.#take(received.message);
    return true;
  }

  end(): void {
    this.#port.close();
  }

  destroy(): void {
    this.#port.close();
  }
}
