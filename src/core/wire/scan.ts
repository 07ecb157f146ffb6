import { DecodeError } from '../errors.ts';
import { MAX_BIGINT_BYTES, MAX_DEPTH, MAX_ITEMS } from './limits.ts';
import { TAG_ATTACHMENT, TAG_BIGINT, TAG_BLOB, TAG_CALL_ERROR, TAG_CONTEXT, TAG_DATE, TAG_MAP, TAG_NEGATIVE_BIGINT, TAG_SECRET, TAG_SENDER, TAG_SET, TAG_STREAM, TAG_TYPED_ARRAY } from './tags.ts';

/** What a scan found: where the CBOR item ends, whether values must be revived, the lengths of the attachments. */
export interface Scan {
  readonly end: number;
  readonly revive: boolean;
  readonly attachments: readonly number[];
}

const NO_ATTACHMENTS: readonly number[] = [];
const PROTO = Buffer.from('__proto__', 'latin1');

/**
 * Walks one CBOR item without building anything and refuses all that is outside our subset: other tags, indefinite
 * lengths, simple values, nesting, item counts, big integers, `__proto__` keys, truncation.
 *
 * cbor-x alone cannot be trusted with bytes from below: it builds RegExp and Error objects, honours record definitions,
 * builds cycles, expands packed values and takes quadratic time for big integers (docs/decisions.md, D-004).
 */
export function scan(data: Uint8Array, maxItems: number = MAX_ITEMS): Scan {
  walk.begin(data, maxItems);
  walk.item(0);
  return { end: walk.at, revive: walk.revive, attachments: walk.attachments ?? NO_ATTACHMENTS };
}

class Walk {
  at = 0;
  revive = false;
  attachments: number[] | undefined;
  #data: Uint8Array = PROTO;
  #left = 0;

  begin(data: Uint8Array, maxItems: number): void {
    this.at = 0;
    this.revive = false;
    this.attachments = undefined;
    this.#data = data;
    this.#left = maxItems;
  }

  /** @param tags - how many tags stand right in front of it */
  item(depth: number, tags = 0): void {
    if (--this.#left < 0) throw new DecodeError('too many items');
    const first = this.#byte();
    const major = first >> 5;
    const info = first & 31;
    switch (major) {
      case 0:
      case 1:
        this.#argument(info);
        return;
      case 2:
      case 3:
        this.#skip(this.#argument(info));
        return;
      case 4:
        this.#items(this.#argument(info), depth);
        return;
      case 5:
        this.#pairs(this.#argument(info), depth, true);
        return;
      case 6:
        this.#tag(this.#argument(info), depth, tags + 1);
        return;
      default:
        this.#simple(info);
    }
  }

  #byte(): number {
    const value = this.#data[this.at++];
    if (value === undefined) throw new DecodeError('it is cut short');
    return value;
  }

  /** The number that a head byte announces; big values only matter as "too much", so doubles are exact enough. */
  #argument(info: number): number {
    if (info < 24) return info;
    if (info > 27) throw new DecodeError('indefinite lengths are not allowed');
    let value = 0;
    for (let bytes = 1 << (info - 24); bytes > 0; bytes--) value = value * 256 + this.#byte();
    return value;
  }

  #skip(length: number): void {
    if (length > this.#data.length - this.at) throw new DecodeError('it is cut short');
    this.at += length;
  }

  #items(count: number, depth: number): void {
    if (depth >= MAX_DEPTH) throw new DecodeError('it is nested too deeply');
    if (count > this.#left) throw new DecodeError('too many items');
    for (let index = 0; index < count; index++) this.item(depth + 1);
  }

  #pairs(count: number, depth: number, textKeys: boolean): void {
    if (depth >= MAX_DEPTH) throw new DecodeError('it is nested too deeply');
    if (count * 2 > this.#left) throw new DecodeError('too many items');
    for (let index = 0; index < count; index++) {
      if (textKeys) this.#key();
      else this.item(depth + 1);
      this.item(depth + 1);
    }
  }

  #key(): void {
    const first = this.#byte();
    if (first >> 5 !== 3) throw new DecodeError('an object key is not a text');
    const length = this.#argument(first & 31);
    const start = this.at;
    this.#skip(length);
    this.#left--;
    if (length === PROTO.length && PROTO.equals(this.#data.subarray(start, this.at))) throw new DecodeError('an object key is __proto__');
  }

  #tag(tag: number, depth: number, tags: number): void {
    // An attachment in a blob is the one tag in a tag that there is. Tags do not count as nesting.
    if (tags > 2) throw new DecodeError('tags are nested');
    const next = this.#data[this.at] ?? 0;
    const major = next >> 5;
    switch (tag) {
      case TAG_DATE:
        // Integers and floats only: the codec would take a text here.
        if (major > 1 && next !== 0xf9 && next !== 0xfa && next !== 0xfb) throw new DecodeError('a date is not a number');
        break;
      case TAG_BIGINT:
      case TAG_NEGATIVE_BIGINT: {
        const start = this.at;
        if (major !== 2) throw new DecodeError('a bigint is not a byte string');
        this.item(depth, tags);
        if (this.at - start > MAX_BIGINT_BYTES + 3) throw new DecodeError('a bigint is too long');
        return;
      }
      case TAG_SET:
        if (major !== 4) throw new DecodeError('a set is not an array');
        break;
      case TAG_MAP: {
        if (major !== 5) throw new DecodeError('a map is not a map');
        if (--this.#left < 0) throw new DecodeError('too many items');
        this.#pairs(this.#argument(this.#byte() & 31), depth, false);
        return;
      }
      case TAG_ATTACHMENT: {
        if (major !== 0) throw new DecodeError('the length of an attachment is not a number');
        this.revive = true;
        if (--this.#left < 0) throw new DecodeError('too many items');
        (this.attachments ??= []).push(this.#argument(this.#byte() & 31));
        return;
      }
      case TAG_BLOB:
      case TAG_SECRET:
      case TAG_CALL_ERROR:
      case TAG_TYPED_ARRAY:
      case TAG_CONTEXT:
      case TAG_SENDER:
      case TAG_STREAM:
        this.revive = true;
        break;
      default:
        throw new DecodeError(`tag ${String(tag)} is not allowed`);
    }
    this.item(depth, tags);
  }

  #simple(info: number): void {
    // false, true, null, undefined; half, single and double floats
    if (info >= 20 && info <= 23) return;
    if (info < 25 || info > 27) throw new DecodeError('a simple value is not allowed');
    this.#skip(1 << (info - 24));
  }
}

// A scan runs to its end without calling anyone, so one walk serves all.
const walk = new Walk();
