import type { stream } from '../flow/stream.ts';
import type * as InChild from '../in-child.ts';

type Library = typeof InChild & { readonly stream: typeof stream };

declare const require: (name: string) => Library;

/**
 * The running core of the context that this module has been sent to. Asked for late: who loads it may ask for the current
 * call, and following calls costs each of them a little.
 */
export function library(): Library {
  return require('tendril');
}
