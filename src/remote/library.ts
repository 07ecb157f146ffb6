import type * as InChild from '../in-child.ts';

declare const require: (name: string) => typeof InChild;

/**
 * The running core of the context that this module has been sent to. Asked for late: who loads it may ask for the current
 * call, and following calls costs each of them a little.
 */
export function library(): typeof InChild {
  return require('tendril');
}
