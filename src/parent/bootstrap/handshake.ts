import { Observable } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { printable } from '../connection/classify-exit.ts';
import { ConnectError } from '../connection/connect-error.ts';
import type { ConnectPhase } from '../connection/connect-error.ts';
import type { Transport } from '../connection/transport.ts';
import { LastWords, MAX_OUTPUT } from './last-words.ts';

/** The oldest version of Node that a child can run on. */
export const OLDEST_NODE = [20, 19] as const;
/** Bytes of noise (banners, echoes) that may come before the marker. */
const MAX_NOISE: number = 64 * 1024;

const FIRST_MARKER = /EC0 (v(\d+)\.(\d+)[\w.+-]{0,64});/;
const SECOND_MARKER = 'EC1;';

/** What a boot came to. */
export interface Booted {
  /** Version of Node there, such as `v20.20.2`. */
  readonly nodeVersion: string;
  /** Bytes behind the marker: the first of the frames. */
  readonly first: Buffer;
}

/** What a boot needs. */
export interface HandshakeOptions {
  /** Length, core, configuration (src/parent/bootstrap/parts.ts). */
  readonly parts: readonly Uint8Array[];
  /** Send them at once instead of waiting for EC0; saves a round trip where nothing but the first stage reads. */
  readonly eager: boolean;
  /** Milliseconds from the start of the process until the core runs. */
  readonly timeoutMs: number;
}

/**
 * Boots the core over a transport: waits for `EC0 <version>;` anywhere in the noise, sends the core, waits for `EC1;`.
 * Emits once; errors with a ConnectError that has the last output.
 */
export function handshake(transport: Transport, options: HandshakeOptions, broker: Broker): Observable<Booted> {
  return new Observable((subscriber) => {
    let phase: ConnectPhase = 'first-stage';
    let received = '';
    let nodeVersion = '';

    const send = (): void => {
      transport.link.write(options.parts);
    };
    const lastWords = new LastWords(transport, broker, () => {
      subscriber.error(lastWords.error(phase, said()));
    });
    const said = (): string => printable(Buffer.from((lastWords.output + received).slice(-MAX_OUTPUT), 'latin1').toString('utf8'), MAX_OUTPUT);
    const tooMuch = (): void => {
      if (received.length <= MAX_NOISE) return;
      const missing = phase === 'core' ? 'the core' : 'the first stage';
      subscriber.error(new ConnectError('CONNECT_EOF', `more than ${String(MAX_NOISE)} bytes came before ${missing} answered; is something else than a shell at the other end?`, { phase, output: said() }));
    };
    const onChunk = (chunk: Uint8Array): void => {
      received += Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1');
      if (phase === 'first-stage') {
        const found = FIRST_MARKER.exec(received);
        if (found === null) {
          tooMuch();
          return;
        }
        nodeVersion = found[1] ?? '';
        if (isOlder(Number(found[2]), Number(found[3]))) {
          subscriber.error(new ConnectError('NODE_TOO_OLD', `the target has Node ${nodeVersion}; at least ${OLDEST_NODE.join('.')} is needed: install it there, or give nodePath`, { phase, output: said() }));
          return;
        }
        received = received.slice(found.index + found[0].length);
        phase = 'core';
        if (!options.eager) send();
      }
      const at = received.indexOf(SECOND_MARKER);
      if (at >= 0) {
        subscriber.next({ nodeVersion, first: Buffer.from(received.slice(at + SECOND_MARKER.length), 'latin1') });
        subscriber.complete();
      } else tooMuch();
    };

    const subscription = broker.after(options.timeoutMs, () => {
      subscriber.error(new ConnectError('CONNECT_TIMEOUT', `the ${phase === 'core' ? 'core did not start' : 'first stage did not answer'} within ${String(options.timeoutMs)} ms; raise bootTimeoutMs, or look at the output`, { phase, output: said() }));
    });
    subscription.add(lastWords.watch());
    const onEnd = (): void => {
      lastWords.linkEnded();
    };
    subscription.add(transport.link.chunks.subscribe({ next: onChunk, error: onEnd, complete: onEnd }));
    if (options.eager) send();
    return subscription;
  });
}

function isOlder(major: number, minor: number): boolean {
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  return major < oldestMajor || (major === oldestMajor && minor < oldestMinor);
}
