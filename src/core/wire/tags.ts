import type { Router } from '../routing/router.ts';

/**
 * The closed set of CBOR tags (docs/protocol.md). Those below 1000 are IANA's and are handled by the codec itself;
 * ours are revived by `values.ts` after decoding.
 */
export const TAG_DATE = 1;
export const TAG_BIGINT = 2;
export const TAG_NEGATIVE_BIGINT = 3;
export const TAG_SET = 258;
export const TAG_MAP = 259;
/** Length of the next attachment: bytes that follow the CBOR item in the payload. */
export const TAG_ATTACHMENT = 55700;
export const TAG_BLOB = 55701;
export const TAG_SECRET = 55702;
export const TAG_CALL_ERROR = 55703;
export const TAG_TYPED_ARRAY = 55704;
export const TAG_CONTEXT = 55705;
export const TAG_SENDER = 55706;
export const TAG_STREAM = 55707;

/** How a class of this library puts itself on the wire: a tag and a content of plain values. */
export const WIRE: unique symbol = Symbol.for('tendril.wire') as never;

/** Where a value goes, for what is to be reached from there. */
export interface Destination {
  readonly router: Router;
  readonly contextId: number;
  /** Is told of each stream in the value. */
  keep?(stream: Kept): void;
}

/** A stream that was sent and may be taken back. */
export interface Kept {
  /** Takes it back: if nobody has opened it, or in any case. */
  drop(evenOpen: boolean): void;
}

/** A value that knows its own wire form. */
export interface Wired {
  [WIRE](to?: Destination): { readonly tag: number; readonly content: unknown };
}
