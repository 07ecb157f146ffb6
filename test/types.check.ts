// Compiled by `npm run check`, never run: what the compiler infers for users.
import os from 'node:os';
import type { Observable } from 'rxjs';
import type { ConnectedContext, Mailbox, Sender } from 'tendril';

declare const context: ConnectedContext;
declare function plain(a: number, b: string): boolean;
declare function promised(): Promise<Date>;
declare function observed(name: string): Observable<Map<string, number>>;
declare function iterated(): AsyncGenerator<string>;
declare function promisedStream(): Promise<Observable<bigint>>;
declare function generic<T>(value: T): T;
declare function takesSender(sender: Sender<number>): void;

/** Exactly the same type, not merely assignable. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

export const inferred: [
  Same<ReturnType<typeof plainCall>, Observable<boolean>>,
  Same<ReturnType<typeof promisedCall>, Observable<Date>>,
  Same<ReturnType<typeof observedCall>, Observable<Map<string, number>>>,
  Same<ReturnType<typeof iteratedCall>, Observable<string>>,
  Same<ReturnType<typeof promisedStreamCall>, Observable<bigint>>,
  Same<ReturnType<typeof builtinCall>, Observable<number[]>>,
] = [true, true, true, true, true, true];

const plainCall = () => context.call(plain, 1, 'x');
const promisedCall = () => context.call(promised);
const observedCall = () => context.with({ chain: 'c' }).call(observed, 'x');
const iteratedCall = () => context.chain().call(iterated);
const promisedStreamCall = () => context.call(promisedStream);
const builtinCall = () => context.call(os.loadavg);

// @ts-expect-error an argument of the wrong type
context.call(plain, '1', 'x');
// @ts-expect-error an argument too few
context.call(plain, 1);
context.call(generic<string>, 'text');

const mailbox: Mailbox<number> = context.handle<number>(5000);
context.call(takesSender, mailbox.sender);
// @ts-expect-error a value of the wrong type
mailbox.next('text');
