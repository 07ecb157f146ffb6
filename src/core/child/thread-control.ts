/** What the main thread tells the broker thread, beside frames. */
export type MainControl =
  /** Write everything, then wake me: I am about to exit. */
  | 'flush'
  /** I have shut down; end the process. */
  | 'finished'
  /** I have seen the end of the parent. */
  | 'shutdown'
  /** Look often: user code runs. */
  | 'wake'
  /** Nothing but what is read can make me run; I would read by myself. */
  | 'return'
  /** I do not take what you have given; read on. */
  | 'keep'
  /** Read from now on; these bytes come first. */
  | { readonly read: Uint8Array };

/** What the broker thread tells the main thread about reading. */
export type LeaseControl =
  /** Show that your loop turns. */
  | 'ping'
  /** Read from now on; these bytes come first. */
  | { readonly give: Uint8Array };

/** What the broker thread tells the main thread, beside frames. */
export type BrokerControl =
  | LeaseControl
  /** Send me what you have had of modules: I have children now. */
  | 'recall';
