import { writeSync } from 'node:fs';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { TraceLevel } from '../config.ts';

/**
 * Writes events (and, at `io`, every message without its payload) to the raw stderr of this process. Never through the
 * tree: a trace of messages that is itself a message would not end. The result ends it.
 */
export function traceTo(level: TraceLevel, thread: string): () => void {
  if (level === 'off') return () => undefined;
  const write = (event: unknown): void => {
    try {
      writeSync(2, `[tendril ${thread}] ${JSON.stringify(event)}\n`);
    } catch {
      // A full or closed stderr is no reason to fail.
    }
  };
  subscribe('tendril:router', write);
  if (level === 'io') subscribe('tendril:io', write);
  return () => {
    unsubscribe('tendril:router', write);
    unsubscribe('tendril:io', write);
  };
}
