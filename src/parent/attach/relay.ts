import { CONTROL_CANCEL, REPLY_NEXT } from '../../core/call/protocol.ts';
import { DecodeError } from '../../core/errors.ts';
import type { DeadReason } from '../../core/errors.ts';
import type { DropReason } from '../../core/routing/gate.ts';
import { Joiner } from '../../core/routing/joiner.ts';
import type { Router } from '../../core/routing/router.ts';
import type { Stream } from '../../core/routing/stream.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { CALL_CONTROL, CALL_FUNCTION, LAST_RESERVED_HANDLE, LOAD_MODULE, SHUTDOWN } from '../../core/wire/handles.ts';
import { decodeValue, encodeValue } from '../../core/wire/values.ts';
import type { Authority } from './listening.ts';
import { MAX_REPLY_HANDLES, ReplyHandles } from './reply-handles.ts';
import type { ReplyHandle } from './reply-handles.ts';

/** What of the library's own handles a process may send to with the authority of its listener. */
const MAY_SEND: ReadonlySet<number> = new Set([CALL_FUNCTION, CALL_CONTROL, LOAD_MODULE, SHUTDOWN]);
/** Bytes that a process may leave unread before it is disconnected. */
export const MAX_UNREAD_BYTES: number = 64 * 1024 * 1024;

/**
 * Passes on what one attached process sends. With full authority everything goes out under the ID of the listener, since a
 * message has one source, and handles for answers are replaced by the listener's own; without, as it came.
 */
export class Relay {
  readonly #router: Router;
  readonly #client: Stream;
  readonly #authority: Authority;
  readonly #handles = new ReplyHandles();
  readonly #joiner: Joiner;

  constructor(router: Router, client: Stream, authority: Authority) {
    this.#router = router;
    this.#client = client;
    this.#authority = authority;
    this.#joiner = new Joiner(router.maxMessageSize);
  }

  /** How many answers are waited for. For leak checks. */
  get size(): number {
    return this.#handles.size;
  }

  /** Takes what the process has sent. */
  receive(batch: readonly Message[]): void {
    this.#router.gate?.received(batch, this.#client);
    for (const message of batch) this.#take(message);
  }

  /** Cancels what is under way: the process has left. */
  close(): void {
    for (const handle of this.#handles.all()) {
      this.#drop(handle);
      if (handle.isCall) this.#send({ dstId: handle.contextId, handle: CALL_CONTROL, replyTo: 0, data: encodeValue([handle.own, CONTROL_CANCEL]).data });
    }
  }

  #take(message: Message): void {
    const { remoteId } = this.#client;
    if (message.srcId !== remoteId) this.#offence(message, 'bad-source', `an attached process may not send as context ${String(message.srcId)}, it is ${String(remoteId)}`);
    else if (!this.#mayReach(message)) this.#refuse(message, 'refused-by-policy', 'refused by policy: an attached process may not send there');
    else if (this.#authority === 'none') this.#router.receive([message], this.#client);
    else {
      // Each message is looked at once, so it must be whole.
      const whole = message.part ? this.#joiner.join(message, this.#client) : message;
      if (whole === null) this.#refuse(message, 'too-large', 'the fragments of a message are more, or smaller, than they may be');
      else if (whole) this.#passOrAsk(whole);
    }
  }

  #passOrAsk(message: Message): void {
    if (message.replyTo === IS_DEAD || message.replyTo === 0) this.#pass(message);
    else this.#ask(message);
  }

  #mayReach({ dstId, handle, replyTo }: Message): boolean {
    if (handle > LAST_RESERVED_HANDLE) return true;
    // Elsewhere its own ID is judged, and it has no authority. Here it would be a direct child.
    if (this.#authority === 'none') return dstId !== this.#router.id;
    return MAY_SEND.has(handle) && replyTo !== IS_DEAD;
  }

  /** Nothing is to be answered. */
  #pass(message: Message): void {
    const { id, table } = this.#router;
    if (message.handle === CALL_CONTROL) {
      this.#control(message);
      return;
    }
    this.#send(rewritten(message, {}));
    // The router thinks that what this context sends itself came from its other thread, which has it then.
    if (message.handle === LOAD_MODULE && message.dstId === id) table.twin?.send(rewritten(message, { srcId: id }));
  }

  /** Names of calls are the handles for their answers. */
  #control(message: Message): void {
    let content: unknown;
    try {
      content = decodeValue(message.data, message.tail);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
    const [call, kind, ...rest] = Array.isArray(content) ? (content as unknown[]) : [];
    const known = typeof call === 'number' ? this.#handles.find(message.dstId, call) : undefined;
    if (known === undefined) return;
    if (kind === CONTROL_CANCEL) this.#drop(known);
    const { data } = encodeValue([known.own, kind, ...rest]);
    this.#send({ dstId: message.dstId, handle: CALL_CONTROL, replyTo: 0, data });
  }

  #ask(message: Message): void {
    const { dstId, replyTo } = message;
    const known = this.#handles.find(dstId, replyTo);
    if (known !== undefined && !known.isCall && message.handle !== CALL_FUNCTION) {
      this.#send(rewritten(message, { replyTo: known.own }));
      return;
    }
    if (known !== undefined) {
      this.#refuse(message, 'error', `the handle ${String(replyTo)} waits for another call`);
      return;
    }
    const handle: ReplyHandle = { own: this.#router.allocateHandle(), theirs: replyTo, contextId: dstId, isCall: message.handle === CALL_FUNCTION };
    const noted = this.#handles.add(handle, (oldest) => {
      this.#drop(oldest);
    });
    if (!noted) {
      this.#refuse(message, 'error', `an attached process may have ${String(MAX_REPLY_HANDLES)} calls under way`);
      return;
    }
    this.#router.addHandler(handle.own, { respondent: dstId, deliver: (answer) => { this.#answer(handle, answer); } });
    this.#send(rewritten(message, { replyTo: handle.own }));
  }

  #answer(handle: ReplyHandle, answer: Message): void {
    if (isEnd(handle, answer)) this.#drop(handle);
    this.#give(rewritten(answer, { dstId: this.#client.remoteId, handle: handle.theirs }));
  }

  /** Sends to the process, unless it has stopped reading. */
  #give(message: Message): void {
    if (this.#client.pendingBytes > MAX_UNREAD_BYTES) this.#client.disconnect(new Error(`the attached process has left more than ${String(MAX_UNREAD_BYTES)} bytes unread`));
    else this.#client.send(message);
  }

  #send(message: Omit<Message, 'srcId'>): void {
    this.#router.send({ ...message, srcId: this.#router.id });
  }

  #drop(handle: ReplyHandle): void {
    this.#handles.delete(handle);
    this.#router.removeHandler(handle.own);
  }

  #offence({ srcId, handle }: Message, reason: DropReason, why: string): void {
    this.#router.emit({ type: 'message-dropped', reason, why, srcId, handle, via: this.#client.remoteId });
  }

  #refuse({ srcId, dstId, handle, replyTo }: Message, reason: DeadReason, text: string): void {
    this.#router.emit({ type: 'message-refused', reason, why: text, srcId, handle, via: this.#client.remoteId });
    if (replyTo === 0 || replyTo === IS_DEAD) return;
    this.#give({ dstId: srcId, srcId: dstId, handle: replyTo, replyTo: IS_DEAD, data: Buffer.from(`${reason}: ${text}`) });
  }
}

/** A message with another header. Not a copy: one that was received would go out as the frame that it came in. */
function rewritten({ dstId, srcId, handle, replyTo, data, tail }: Message, header: Partial<Omit<Message, 'data'>>): Message {
  return { dstId, srcId, handle, replyTo, data, ...(tail && { tail }), ...header };
}

/** Whether an answer is the last one. A value that was too large is followed by a cancel. */
function isEnd({ isCall }: ReplyHandle, { replyTo, data }: Message): boolean {
  if (replyTo === IS_DEAD) return !isCall || !Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('latin1').startsWith('too-large');
  // An array of two, and its first item: a number below 24 is a byte.
  return isCall && !(data[0] === 0x82 && data[1] === REPLY_NEXT);
}
