/** The well-known handles (REFERENCE: the numbers are Mitogen's). Dynamic handles are random and at least {@link FIRST_DYNAMIC_HANDLE}. */

/** Child to parent: a module is wanted. */
export const GET_MODULE = 100;
/** Parent to child: run a function. */
export const CALL_FUNCTION = 101;
/** Anyone to the master: a log record. */
export const FORWARD_LOG = 102;
/** Parent to child: shut down. */
export const SHUTDOWN = 106;
/** Parent to child: module sources. */
export const LOAD_MODULE = 107;
/** Parent to child: push modules on to a context below. */
export const FORWARD_MODULE = 108;
/** Anyone: call a method of a service. Its policy decides. (Mitogen's 111, STUB_CALL_SERVICE, has no use here: a call that may start a service is a CALL_FUNCTION.) */
export const CALL_SERVICE = 110;
/** Child to parent: a file beside a module is wanted. */
export const GET_RESOURCE = 112;
/** Parent to child: such a file. */
export const LOAD_RESOURCE = 113;
/** Child to parent: a context is there. */
export const ADD_ROUTE = 103;
/** Child to parent, and to those who know of it: a context is gone. */
export const DEL_ROUTE = 104;
/** Child to parent: IDs for contexts of its own are wanted. */
export const ALLOCATE_ID = 105;
/** Parent to child: let go of me; child to parent: I am about to. */
export const DETACHING = 109;
/** Caller to callee: cancel a call, or grant it credit. Ours; Mitogen has no such handle. */
export const CALL_CONTROL = 114;

/** Child to master: its CPU profile, as its last message. Ours. */
export const PROFILE = 115;

/** Parent to child: code of the library that only contexts with children of their own need. Ours. */
export const LOAD_PART = 116;
/** Parent to child: start a context below, and end it. Ours; Mitogen calls a function for that. */
export const CONNECT = 117;

/** What a context needs to have children: asked of the parent, and of the other thread of the context; and back. Ours. */
export const PARENTHOOD = 118;

/**
 * A sign of life is wanted. Nobody answers this handle, so that the thread that reads from the parent sends the dead message
 * `invalid-handle`, which is the sign. Ours.
 */
export const PING = 119;

/** Between the threads of a context: open a UNIX socket that others attach to, and close it. Ours. */
export const LISTEN = 120;

/** The numbers that are the library's, now or later. */
export const FIRST_RESERVED_HANDLE = 100;
export const LAST_RESERVED_HANDLE = 999;

/** First number that a dynamic handle can have; those below are reserved for well-known handles and users. */
export const FIRST_DYNAMIC_HANDLE = 0x1000_0000;
