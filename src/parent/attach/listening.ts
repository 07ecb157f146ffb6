/** What those who attach may do. */
export type Authority = 'full' | 'none';

/** Options of `listen()`. */
export interface ListenOptions {
  /**
   * Name of the socket in the directory of this account: `$XDG_RUNTIME_DIR/tendril-UID`, or `tendril-UID` in the directory
   * for temporary files where that variable is not set. Letters, digits, `.`, `_` and `-`. Default: the process ID.
   */
  readonly name?: string;
  /** Path of the socket, in place of `name`. Its directory must be ours alone (mode 0700), and is made when it is missing. */
  readonly path?: string;
  /**
   * `full`: those who attach act with all the authority of this context: they call functions in it and in everything below
   * it, and shut it down. `none`: they may send to handles whose policy admits anyone, and nothing else. Default `full`, as in
   * Mitogen: nobody but this account (and root) can open the socket.
   */
  readonly authority?: Authority;
}

/** An open socket that processes attach to. */
export interface Listener extends AsyncDisposable {
  /** Its path, for `attach()`. */
  readonly path: string;
  /** Disconnects those who have attached, and removes the socket. Resolves when that is done; never rejects. */
  close(): Promise<void>;
}

/** What can be attached to: a master, and `router` in a child. */
export interface Listening {
  /**
   * Opens a UNIX socket by which other processes of this account join the tree here (`attach()`).
   *
   * Rejects with ERR_TENDRIL_SOCKET_UNSAFE when others can get at its directory, ERR_TENDRIL_SOCKET_IN_USE when somebody
   * listens there already, ERR_TENDRIL_SOCKET when it cannot be made, ERR_TENDRIL_BAD_OPTION for options that cannot work.
   */
  listen(options?: ListenOptions): Promise<Listener>;
}
