import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { FrameDecoder, encodeFrame } from '../../src/core/wire/frame.ts';
import type { Message } from '../../src/core/wire/frame.ts';
import { decodeValue, encodeValue } from '../../src/core/wire/values.ts';
import { ATTACH_PROTOCOL } from '../../src/parent/attach/protocol.ts';
import type { Welcome } from '../../src/parent/attach/protocol.ts';

/** The frame that a process which attaches sends first. */
export function helloFrame(hello: unknown = { protocol: ATTACH_PROTOCOL, name: 'raw' }): Buffer {
  return encodeFrame({ dstId: 0, srcId: 0, handle: 0, replyTo: 0, data: encodeValue(hello).data });
}

/** A process that attaches with bytes of its own making. */
export class RawClient {
  readonly socket: Socket;
  readonly received: Message[] = [];
  welcome: Welcome | undefined;
  ended = false;
  readonly #decoder = new FrameDecoder();
  readonly #seen = new Set<() => void>();

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on('error', () => undefined);
    this.socket.on('data', (chunk: Buffer) => {
      this.received.push(...this.#decoder.push(chunk, false));
      for (const look of [...this.#seen]) look();
    });
    for (const event of ['end', 'close']) {
      this.socket.on(event, () => {
        this.ended = true;
        for (const look of [...this.#seen]) look();
      });
    }
  }

  static async attached(path: string): Promise<RawClient> {
    const client = new RawClient(path);
    await once(client.socket, 'connect');
    client.socket.write(helloFrame());
    const welcome = await client.next(({ handle }) => handle === 0);
    client.welcome = decodeValue(welcome.data) as Welcome;
    return client;
  }

  get id(): number {
    return this.welcome?.id ?? -1;
  }

  /** The first message that fits, come or to come. */
  next(fits: (message: Message) => boolean): Promise<Message> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = this.received.find(fits);
        if (found) resolve(found);
        else if (this.ended) reject(new Error('the listener has closed the connection'));
        else return;
        this.#seen.delete(look);
      };
      this.#seen.add(look);
      look();
    });
  }

  send(message: Partial<Message> & { readonly dstId: number; readonly handle: number }, value?: unknown): void {
    this.socket.write(encodeFrame({ srcId: this.id, replyTo: 0, data: encodeValue(value).data, ...message }));
  }

  /** Resolves when the connection is closed. */
  async closed(): Promise<void> {
    this.socket.resume();
    if (!this.socket.destroyed) await once(this.socket, 'close');
  }
}
