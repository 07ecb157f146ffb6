// Compiled by `npm run check`, never run: what the compiler infers for users.
import os from 'node:os';
import type { Observable } from 'rxjs';
import type { ConnectedContext, ExecOptions, Mailbox, RemoteModule, RemoteStream, Sender, ServicePolicy, TransferOptions, WriteOptions } from 'tendril';
import type { ConnectionMethods, METHOD_OPTIONS } from '../src/parent/connection-methods.ts';
import type { CallOptions } from '../src/core/context.ts';
import type { EXEC_OPTIONS } from '../src/parent/commands/exec-options.ts';
import type { TRANSFER_OPTIONS, WRITE_OPTIONS } from '../src/parent/files/file-options.ts';
import type { CALL_OPTIONS } from '../src/parent/remote-context.ts';
import type { CONTEXT_OPTIONS } from '../src/parent/context-options.ts';
import type * as Tasks from './fixtures/tasks.ts';

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
  Same<ReturnType<typeof plainCall>, RemoteStream<boolean>>,
  Same<ReturnType<typeof promisedCall>, RemoteStream<Date>>,
  Same<ReturnType<typeof observedCall>, RemoteStream<Map<string, number>>>,
  Same<ReturnType<typeof iteratedCall>, RemoteStream<string>>,
  Same<ReturnType<typeof promisedStreamCall>, RemoteStream<bigint>>,
  Same<ReturnType<typeof builtinCall>, RemoteStream<number[]>>,
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

// A module of another context: its functions and the static methods of its classes, and nothing else.
const tasks = context.module<typeof Tasks>(new URL('./fixtures/tasks.ts', import.meta.url));
const others = context.module<{
  plain: typeof plain;
  promisedStream: typeof promisedStream;
  value: number;
  data: { plain: typeof plain };
  Svc: typeof Svc;
  Abstract: typeof Abstract;
}>('/tasks.js');
declare class Svc {
  static ping(text: string): Promise<Date>;
  static count: number;
  constructor(secret: string);
  work(): void;
}
declare abstract class Abstract {
  static observed(): Observable<'a' | 'b'>;
}

export const modules: [
  Same<ReturnType<typeof tasks.add>, RemoteStream<number>>,
  Same<Parameters<typeof tasks.add>, [a: number, b: number]>,
  Same<ReturnType<typeof tasks.default>, RemoteStream<string>>,
  Same<ReturnType<typeof tasks.generated>, RemoteStream<number>>,
  Same<ReturnType<typeof tasks.Counter.increment>, RemoteStream<number>>,
  Same<Parameters<typeof tasks.Counter.increment>, [by?: number | undefined]>,
  Same<keyof typeof others, 'plain' | 'promisedStream' | 'Svc' | 'Abstract'>,
  Same<keyof typeof others.Svc, 'ping'>,
  Same<ReturnType<typeof others.Svc.ping>, RemoteStream<Date>>,
  Same<ReturnType<typeof others.Abstract.observed>, RemoteStream<'a' | 'b'>>,
  Same<ReturnType<typeof others.promisedStream>, RemoteStream<bigint>>,
  Same<ReturnType<RemoteModule<typeof import('node:buffer')>['Buffer']['alloc']>, RemoteStream<Buffer<ArrayBuffer>>>,
] = [true, true, true, true, true, true, true, true, true, true, true, true];

context.with({ signal: AbortSignal.abort() }).module<typeof Tasks>('/tasks.ts').greet('x');
context.chain().module<typeof Tasks>('/tasks.ts').greet('x');
// @ts-expect-error an argument of the wrong type
tasks.add('1', 2);
// @ts-expect-error an export that is no function
void others.value;
// @ts-expect-error an export that is not there
void tasks.noSuchFunction;
// @ts-expect-error an instance method
void others.Svc.work;
// @ts-expect-error a member of a remote module cannot be replaced
tasks.add = plain;

export const remoteOptionNames: [Same<(typeof EXEC_OPTIONS)[number], keyof ExecOptions>, Same<(typeof WRITE_OPTIONS)[number], keyof WriteOptions>, Same<(typeof TRANSFER_OPTIONS)[number], keyof TransferOptions>] = [true, true, true];
export const callOptionNames: Same<(typeof CALL_OPTIONS)[number], keyof CallOptions> = true;

/** The names of options that are known when a program runs are those of the types. */
type Known<Method extends keyof typeof METHOD_OPTIONS> = (typeof METHOD_OPTIONS)[Method][number] | (typeof CONTEXT_OPTIONS)[number];
type Typed<Method extends keyof ConnectionMethods> = keyof NonNullable<Parameters<ConnectionMethods[Method]>[0]>;

export const optionNames: { [Method in keyof ConnectionMethods]: Same<Known<Method>, Typed<Method>> } = {
  local: true,
  ssh: true,
  sudo: true,
  su: true,
  doas: true,
  docker: true,
  podman: true,
  kubectl: true,
  lxc: true,
  nsenter: true,
  chroot: true,
  openssh: true,
  command: true,
};

// A service: the methods that its class lists, and nothing else.
declare class Stock {
  static readonly methods: { put: { policy: ServicePolicy }; count: { policy: ServicePolicy[] }; changes: object; secret: object };
  put(name: string, count: number): void;
  count(name: string): Promise<number>;
  changes(): AsyncGenerator<string>;
  hidden(): string;
  private secret(): string;
  value: number;
}
const stock = context.service(Stock);
const named = context.with({ deadline: 10 }).service<typeof Stock>('stock');
export const service: [
  Same<keyof typeof stock, 'put' | 'count' | 'changes'>,
  Same<ReturnType<typeof stock.count>, RemoteStream<number>>,
  Same<ReturnType<typeof stock.changes>, RemoteStream<string>>,
  Same<Parameters<typeof named.put>, [name: string, count: number]>,
] = [true, true, true, true];
// @ts-expect-error an argument of the wrong type
stock.put('bolts', '12');
// @ts-expect-error a method that is not listed
void stock.hidden;
// @ts-expect-error a class that is no service
context.service(Svc);

// Arguments of calls of a chain: values, and calls of the chain that give them.
const chained = context.chain();
chained.call(plain, 1, chained.module<typeof Tasks>('/tasks.ts').greet('x'));
chained.module<typeof Tasks>('/tasks.ts').add(1, chained.call(builtinLength, 'x'));
declare function builtinLength(text: string): Promise<number>;
// @ts-expect-error the result of another type
chained.call(plain, chained.call(promised), 'x');
// @ts-expect-error calls of chains only
context.call(plain, 1, context.call(generic<string>, 'text'));
chained.reset();
