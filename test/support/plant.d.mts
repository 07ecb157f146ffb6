import type { ConnectedContext, Master } from 'tendril';

/** A branch of ten contexts: three that the master has made, by way of one another, and seven that code in them has made. */
export interface Branch {
  readonly top: ConnectedContext;
  readonly mid: ConnectedContext;
  readonly low: ConnectedContext;
  readonly pids: number[];
}

/** A tree of 40 contexts, five deep. With `hung` user code hangs in some: branch by branch, see the source. */
export function plant(master: Master, hung: boolean): Promise<Branch[]>;
