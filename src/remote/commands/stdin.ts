import type { Writable } from 'node:stream';
import type { RemoteStream } from '../../core/call/remote-stream.ts';
import type { Secret } from '../../core/wire/secret.ts';

/** What a command reads: all of it, or a stream of it. */
export type Stdin = Uint8Array | Secret | RemoteStream<Uint8Array>;

/**
 * Writes the input of a command as it is taken. A command that closes its input, or ends, has had enough of it: that is no
 * error. A source that fails is one.
 */
export function feed(stdin: Stdin, writable: Writable, onFailure: (error: unknown) => void): void {
  // Its end of the pipe may be closed at any time.
  writable.on('error', () => undefined);
  if (stdin instanceof Uint8Array) {
    writable.end(stdin);
    return;
  }
  if ('reveal' in stdin) {
    writable.end(stdin.reveal());
    return;
  }
  const subscription = stdin.deliveries().subscribe({
    // What is written counts as dealt with, so that no more than the stream's window waits here.
    next: (delivery) => {
      writable.write(delivery.value, () => {
        delivery.done();
      });
    },
    error: onFailure,
    complete: () => {
      writable.end();
    },
  });
  writable.on('close', () => {
    subscription.unsubscribe();
  });
}
