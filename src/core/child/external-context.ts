import type { ChildConfig } from '../config.ts';
import { FrameDecoder, HEADER_LENGTH } from '../wire/frame.ts';
import { decodeValue } from '../wire/values.ts';
import { readFully, writeFully } from './fds.ts';
import { BrokerThread } from './broker-thread.ts';
import type { BrokerThreadData } from './broker-thread.ts';
import { MainThread } from './main-thread.ts';

/**
 * Main of a child (Mitogen's ExternalContext): what the first stage calls in the main thread, and the main thread calls
 * again in the broker thread.
 *
 * @param core - the compressed core, kept for threads and for children of this child
 * @param thread - what the broker thread is to do; undefined in the main thread
 */
export function run(core: Uint8Array, thread?: BrokerThreadData): void {
  if (thread) {
    new BrokerThread(core, thread).start();
    return;
  }
  // The options of this process are not for its own subprocesses.
  process.execArgv.length = 0;
  const header = readFully(HEADER_LENGTH);
  const [frame] = new FrameDecoder(Infinity).push(Buffer.concat([header, readFully(header.readUInt32BE(12))]), false);
  const config = decodeValue(frame?.data ?? header) as ChildConfig;
  new MainThread(core, config).start(() => {
    try {
      writeFully(Buffer.from('EC1;'));
    } catch {
      // The parent has gone meanwhile, and nobody is left to be told.
      process.exit(1);
    }
  });
}
