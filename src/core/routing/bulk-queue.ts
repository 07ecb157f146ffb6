import { CONTINUES, HEADER_LENGTH, MAX_FRAME, MAX_PAYLOAD, MORE, TOTAL_LENGTH, payloadLength } from '../wire/frame.ts';
import type { Message } from '../wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION, CALL_SERVICE, CONNECT, DETACHING, FORWARD_LOG, FORWARD_MODULE, LOAD_MODULE, LOAD_PART, PARENTHOOD } from '../wire/handles.ts';

/** Bytes of the largest payload that overtakes what waits in other flows. */
export const SMALL: number = 2 * 1024;

/** What calls depend on: no call of the same source overtakes it, to whomever it goes. */
const BEFORE_CALLS: readonly number[] = [LOAD_MODULE, FORWARD_MODULE, LOAD_PART, CONNECT, PARENTHOOD];
/** These keep their order among themselves. */
const CALLS: readonly number[] = [CALL_FUNCTION, CALL_SERVICE, DETACHING];
/** How the content of a cancel begins, and that of no other CALL_CONTROL: an array of two. */
const ARRAY_OF_TWO = 0x82;

interface Item {
  readonly message: Message;
  next?: Item;
  /** Told when all of the message is taken. */
  readonly taken: (() => void)[];
}

interface Flow {
  readonly key: string;
  /** The flow that this one may not overtake. */
  readonly behind: string;
  first: Item;
  last: Item;
  /** Bytes of the first message that are taken already. */
  taken: number;
  /** Bytes that may be taken before it is the turn of the next flow. */
  credit: number;
}

/**
 * Large messages that wait for a link, in flows: messages of one source for one handle keep their order, and flows take
 * turns, each with as many bytes as a frame has (deficit round robin). Gives pieces that fit into a frame.
 */
export class BulkQueue {
  /**
   * In the order of their turns. All keys begin with the source. Not a Map: flows come and go with each message, and V8 keeps
   * what was deleted from a Map until its next full collection.
   */
  readonly #flows: Flow[] = [];
  /** To be told once what was taken is written. */
  readonly #told: (() => void)[] = [];
  /** Bytes of payload that wait. */
  bytes = 0;

  get empty(): boolean {
    return this.#flows.length === 0;
  }

  /** Queues a message that is large, or may not overtake what waits; false, and nothing happens, when it can go at once. */
  add(message: Message): boolean {
    const { srcId, dstId, handle } = message;
    const length = payloadLength(message);
    const modules = `${String(srcId)} `;
    const isCall = CALLS.includes(handle) || (handle === CALL_CONTROL && message.data[0] === ARRAY_OF_TWO);
    const key = BEFORE_CALLS.includes(handle) ? modules : `${modules}${String(dstId)} ${isCall ? '' : String(handle)}`;
    const behind = isCall ? modules : '';
    const flow = this.#find(key);
    // What a program prints comes before what it sends afterwards, in any reasonable case.
    if (flow === undefined && length <= (handle === FORWARD_LOG ? MAX_PAYLOAD : SMALL) && (behind === '' || !this.#find(behind))) return false;
    const item: Item = { message: length > MAX_PAYLOAD && !message.part ? announced(message, length) : message, taken: [] };
    if (flow === undefined) this.#flows.push({ key, behind, first: item, last: item, taken: 0, credit: MAX_FRAME });
    else flow.last = flow.last.next = item;
    this.bytes += payloadLength(item.message);
    return true;
  }

  /** The next piece, if there is one; `of` the messages of one source only when it is given. */
  next(of?: number): Message | undefined {
    // Each that may not go now, or has had its turn, goes to the end; when all may not, there is none.
    for (let passed = 0; passed < this.#flows.length; ) {
      const [flow] = this.#flows as [Flow];
      const { message, next, taken } = flow.first;
      const may = (flow.behind === '' || !this.#find(flow.behind)) && (of === undefined || flow.key.startsWith(`${String(of)} `));
      const length = payloadLength(message);
      const end = Math.min(length, flow.taken + MAX_PAYLOAD);
      const size = end - flow.taken + HEADER_LENGTH;
      if (!may || flow.credit < size) {
        this.#flows.push(flow);
        this.#flows.shift();
        if (may) flow.credit += MAX_FRAME;
        passed = may ? 0 : passed + 1;
        continue;
      }
      const piece = cut(message, flow.taken, end, length);
      flow.credit -= size;
      this.bytes -= end - flow.taken;
      flow.taken = end;
      if (end === length) {
        flow.taken = 0;
        this.#told.push(...taken);
        if (next) flow.first = next;
        else this.#flows.shift();
      }
      return piece;
    }
    return undefined;
  }

  /** Runs `work` when all that waits now was taken, and {@link BulkQueue.written} was called. */
  whenTaken(work: () => void): void {
    let left = 1;
    const one = (): void => {
      if (--left === 0) work();
    };
    for (const { last } of this.#flows) left += last.taken.push(one) && 1;
    one();
  }

  #find(key: string): Flow | undefined {
    return this.#flows.find((flow) => flow.key === key);
  }

  /** What was taken was given to the link. */
  written(): void {
    for (const work of this.#told.splice(0)) work();
  }
}

/** A message that is to be cut, its length in front. */
function announced({ srcId, dstId, handle, replyTo, data, tail = [] }: Message, length: number): Message {
  const total = Buffer.alloc(TOTAL_LENGTH);
  total.writeUInt32BE(length);
  return { srcId, dstId, handle, replyTo, data: total, tail: [data, ...tail] };
}

/** A part of a message as a message of its own; the message itself where that is all of it. */
function cut(message: Message, start: number, end: number, length: number): Message {
  if (end - start === length) return message;
  const { srcId, dstId, handle, replyTo, data, tail = [], part = 0 } = message;
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const bytes of [data, ...tail]) {
    if (at < end && at + bytes.length > start) pieces.push(bytes.subarray(Math.max(0, start - at), end - at));
    at += bytes.length;
  }
  const [first = data, ...others] = pieces;
  return { srcId, dstId, handle, replyTo, data: first, tail: others, part: (start > 0 ? CONTINUES : part & CONTINUES) | (end < length ? MORE : part & MORE) };
}
