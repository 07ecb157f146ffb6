import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { NEVER, Subject, concat, mergeMap, take } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Link } from '../src/core/broker/broker.ts';
import { NodeBroker } from '../src/core/broker/node-broker.ts';
import { deliver } from '../src/parent/bootstrap/delivery.ts';
import type { Runtime } from '../src/parent/bootstrap/runtime.ts';
import type { Transport } from '../src/parent/connection/transport.ts';

const RUNTIME: Runtime = { path: '/node', size: 1000, sha256: 'f'.repeat(64), machines: ['x86_64'], loader: '', compressed: Buffer.from('program') };

/** A process that says `pieces` in turn; what was delivered to it, and what its reader got then. */
function run(pieces: readonly Buffer[]): { written: string; rest: string; given: number; error: string | undefined } {
  const chunks = new Subject<Uint8Array>();
  let written = '';
  const link: Link = {
    chunks,
    volatile: false,
    pendingBytes: 0,
    drained: NEVER,
    write: (parts) => { written += Buffer.concat(parts).toString('latin1'); },
    end: () => undefined,
    destroy: () => undefined,
  };
  const transport: Transport = { link, output: NEVER, exited: NEVER, kill: () => undefined };
  let rest = '';
  let given = 0;
  let error: string | undefined;
  // Read by one, then by another: what was read ahead comes once.
  const twice = (ready: Transport): Observable<Uint8Array> => {
    given++;
    return concat(ready.link.chunks.pipe(take(1)), ready.link.chunks);
  };
  const delivery = deliver(transport, RUNTIME, {}, new NodeBroker()).pipe(mergeMap(twice)).subscribe({
    next: (chunk) => { rest += Buffer.from(chunk).toString('latin1'); },
    error: (thrown: { reason: string }) => { error = thrown.reason; },
  });
  for (const piece of pieces) chunks.next(piece);
  delivery.unsubscribe();
  return { written, rest, given, error };
}

function cut(text: string, places: readonly number[]): Buffer[] {
  const at = [...new Set([0, text.length, ...places.map((place) => place % (text.length + 1))])].sort((a, b) => a - b);
  return at.slice(1).map((end, index) => Buffer.from(text.slice(at[index], end), 'latin1'));
}

const cuts = fc.array(fc.nat(), { maxLength: 30 });
/** Anything but the beginning of a marker. */
const noise = fc.string({ maxLength: 50 }).map((text) => text.replaceAll(/[RE]/g, '.'));

describe('delivery of a runtime', () => {
  it('reads its markers wherever they are cut, and loses no byte behind them', () => {
    fc.assert(fc.property(noise, noise, fc.string({ unit: 'binary-ascii' }), cuts, (before, between, behind, places) => {
      // The end is only said when the program has come, so never in one piece with the offer.
      expect(run([...cut(`${before}RT0 x86_64 there /dev/shm none;\n`, places), ...cut(`${between}RT1;${behind}`, places)])).toEqual({ written: `7 ${'f'.repeat(64)}\nprogram`, rest: behind, given: 1, error: undefined });
    }));
  });

  it('sends nothing to a target that has found a Node, and passes on all that it said', () => {
    fc.assert(fc.property(noise, fc.string({ unit: 'binary-ascii' }), cuts, (before, behind, places) => {
      expect(run(cut(`${before}EC0 v20.19.0;${behind}`, places))).toEqual({ written: '', rest: `${before}EC0 v20.19.0;${behind}`, given: 1, error: undefined });
    }));
  });

  it('sends nothing to a target that cannot take it', () => {
    const offers = fc.constantFrom({ offer: 'sparc there /run none', reason: 'RUNTIME_PLATFORM' }, { offer: 'x86_64 missing /run none', reason: 'RUNTIME_PLATFORM' }, { offer: 'x86_64 there none none', reason: 'RUNTIME_NO_PLACE' }, { offer: 'x86_64 there noproc none', reason: 'RUNTIME_NO_PLACE' }, { offer: 'x86_64 there /run gzip', reason: 'RUNTIME_PLATFORM' });
    fc.assert(fc.property(offers, cuts, ({ offer, reason }, places) => {
      expect(run(cut(`RT0 ${offer};`, places))).toEqual({ written: '', rest: '', given: 0, error: reason });
    }));
  });

  it('does not listen to noise for ever', () => {
    expect(run([Buffer.alloc(100_000, 'x')])).toMatchObject({ given: 0, error: 'CONNECT_EOF' });
  });
});
