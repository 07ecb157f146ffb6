import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { VirtualBroker } from '../src/core/broker/virtual-broker.ts';
import { VirtualLinks } from '../src/core/broker/virtual-link.ts';
import { GIVEN_BYTES, SHARED_BYTES, SHARED_MESSAGES, SHARED_MS } from '../src/core/routing/pacer.ts';
import { Stream } from '../src/core/routing/stream.ts';
import { CONTINUES, HEADER_LENGTH, MAX_FRAME, payloadLength } from '../src/core/wire/frame.ts';
import type { Message } from '../src/core/wire/frame.ts';
import { CALL_CONTROL } from '../src/core/wire/handles.ts';
import { check } from './support.ts';

const BULK = 5000;
const SMALL = 6000;

/** A stream over a link that takes all at once, and how long bulk takes on it. */
class Link {
  readonly broker = new VirtualBroker();
  readonly #stream: Stream;
  readonly #got: Message[] = [];
  #begun = 0;
  bulk = 0;
  endedAt = 0;

  constructor(bulkRate?: number) {
    const links = new VirtualLinks(this.broker, { readBufferSize: 1024 * 1024 });
    this.#stream = new Stream(this.broker, 1, 128 * 1024 * 1024, bulkRate);
    const peer = new Stream(this.broker, 0, 128 * 1024 * 1024);
    this.#stream.open(links.left, () => undefined);
    peer.open(links.right, (batch) => {
      for (const message of batch) {
        this.#got.push(message);
        if (message.handle !== BULK) continue;
        this.bulk += HEADER_LENGTH + payloadLength(message);
        this.endedAt = this.broker.now();
      }
    });
  }

  get took(): number {
    return this.endedAt - this.#begun;
  }

  count(handle: number): number {
    return this.#got.filter((message) => message.handle === handle).length;
  }

  send(message: Partial<Message>): void {
    this.#stream.send({ dstId: 1, srcId: 0, handle: SMALL, replyTo: 0, data: Buffer.alloc(8), ...message });
  }

  sendBulk(sizes: readonly number[]): void {
    this.#begun = this.broker.now();
    for (const length of sizes) this.send({ handle: BULK, data: Buffer.alloc(length) });
  }

  /** Sends a small message again and again while bulk is on its way, and three of them now. */
  chatter(everyMs: number, bytes: number): void {
    for (let each = 0; each < SHARED_MESSAGES; each++) this.send({});
    const again = (): void => {
      if (this.bulk >= bytes) return;
      this.send({});
      this.broker.after(everyMs, again);
    };
    this.broker.after(everyMs, again);
  }
}

const sizes = fc.array(fc.integer({ min: MAX_FRAME, max: 4 * 1024 * 1024 }), { minLength: 1, maxLength: 6 });
const everyMs = fc.integer({ min: 1, max: Math.floor(SHARED_MS / (SHARED_MESSAGES + 1)) });
const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

describe('bulk on a link that small messages use too', () => {
  it('has a rate, whatever it is and however the bulk is cut', () => {
    check(
      fc.property(sizes, everyMs, fc.option(fc.integer({ min: 64 * 1024, max: 2_000_000_000 }), { nil: undefined }), fc.nat(100), (bulk, pause, rate, idleMs) => {
        const link = new Link(rate);
        link.broker.advance(idleMs);
        link.sendBulk(bulk);
        link.chatter(pause, sum(bulk));
        link.broker.run();
        expect(link.bulk).toBeGreaterThanOrEqual(sum(bulk));
        // Less what each message gives a link that takes all at once, before anybody has looked.
        const unpaced = (bulk.length + 2) * (GIVEN_BYTES + MAX_FRAME);
        const bytesPerMs = (rate ?? 2 * SHARED_BYTES * 1000) / 1000;
        expect(link.took).toBeGreaterThanOrEqual((link.bulk - unpaced - 2 * bytesPerMs) / bytesPerMs);
        // Nor is it slower than that: a millisecond of rounding for each time that it waited.
        expect(link.took).toBeLessThanOrEqual(2 * (link.bulk / bytesPerMs + 1));
      }),
      60,
    );
  });

  it('has none when there are few of them, when they came before, or when the rate is Infinity', () => {
    check(
      fc.property(sizes, fc.integer({ min: 0, max: SHARED_MESSAGES - 1 }), fc.nat(50), (bulk, few, before) => {
        const alone = new Link();
        alone.send({ handle: BULK, data: Buffer.alloc(70_000) });
        for (let each = 0; each < before; each++) alone.send({});
        alone.broker.advance(SHARED_MS + 1);
        alone.sendBulk(bulk);
        for (let each = 0; each < few; each++) alone.send({});
        alone.broker.run();
        const free = new Link(Infinity);
        free.sendBulk(bulk);
        free.chatter(1, sum(bulk));
        free.broker.run();
        expect([alone.took, alone.count(SMALL), free.took]).toEqual([0, before + few, 0]);
      }),
      60,
    );
  });

  it('has none because of credit, or of the ends of other large messages that are passed on', () => {
    const link = new Link();
    link.sendBulk([4 * 1024 * 1024]);
    for (let each = 0; each < 20; each++) {
      link.send({ handle: CALL_CONTROL });
      link.send({ part: CONTINUES });
    }
    link.broker.run();
    expect([link.took, link.count(CALL_CONTROL)]).toEqual([0, 20]);
  });

  it('goes as fast as it can again when they stop', () => {
    const link = new Link(1_000_000);
    link.sendBulk([8 * 1024 * 1024]);
    link.chatter(1, 1024 * 1024);
    link.broker.run();
    // One second for the first MiB, and what was under way when the last small message passed.
    expect(link.took).toBeGreaterThan(700);
    expect(link.took).toBeLessThan(1500);
  });
});
