/** Limits of values (docs/limits.md); both ends hold them, so that an offence is an error at the sender. */

/** Nesting of arrays, objects, maps and sets. */
export const MAX_DEPTH = 128;
/** Items (scalars, strings and containers) of one value. Numbers in bulk belong into a typed array, which is one item. */
export const MAX_ITEMS: number = 2 * 1024 * 1024;
/** Bytes of one bigint. */
export const MAX_BIGINT_BYTES = 1024;
/** Bytes from which a byte string travels beside the CBOR item instead of in it. */
export const ATTACHMENT_THRESHOLD: number = 16 * 1024;
/** Characters of the message of an error that crosses the wire; the rest is cut. */
export const MAX_ERROR_MESSAGE: number = 16 * 1024;
/** Characters of its stack. */
export const MAX_ERROR_STACK: number = 64 * 1024;
/** Errors of a cause chain. */
export const MAX_CAUSES = 8;
