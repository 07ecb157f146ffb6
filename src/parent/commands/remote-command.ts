import { AsyncSubject, Subscription, map } from 'rxjs';
import type { Observable, Observer } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import type { RemoteModule } from '../../core/call/types.ts';
import { UsageError } from '../../core/errors.ts';
import { GuardedObservable } from '../../core/mailbox/guarded-observable.ts';
import { STDERR, STDOUT } from '../../remote/commands/protocol.ts';
import type { CommandEvent, CommandSpec } from '../../remote/commands/protocol.ts';
import type * as Remote from '../../remote/main.ts';
import { sendable } from '../byte-source.ts';
import type { ByteSource } from '../byte-source.ts';
import { CommandError, commandError, commandFailed } from './command-error.ts';
import { CommandOutput } from './command-output.ts';
import { collect } from './command-result.ts';
import type { CommandExit, CommandResult, ResultOptions } from './command-result.ts';

/** What a command is, before it runs. */
export interface CommandPlan {
  readonly broker: Broker;
  readonly remote: RemoteModule<typeof Remote>;
  /** By which the context knows it. */
  readonly key: string;
  readonly spec: Omit<CommandSpec, 'stdout' | 'stderr'>;
  readonly stdin: ByteSource | undefined;
  /** Whether a failure of the command is an error. */
  readonly check: boolean;
}

/**
 * One run of a command in another context, in a process group of its own.
 *
 * It begins when one of its observables is first subscribed to, and once. What of stdout and stderr nobody has subscribed
 * to in that turn goes to /dev/null, so that the command cannot come to wait for a reader which it does not have. It is
 * ended (SIGTERM to the group, then SIGKILL) when the last subscriber unsubscribes before the end; a subscriber that has
 * seen a completion has not unsubscribed.
 */
export class RemoteCommand {
  /** The process ID there, once it runs; then completes. Replays. Errors as `exit` does when it cannot be run. */
  readonly pid: Observable<number>;
  /** What it writes to descriptor 1. One subscriber. */
  readonly stdout: CommandOutput;
  /** What it writes to descriptor 2. One subscriber. */
  readonly stderr: CommandOutput;
  /**
   * How it ended, once; then completes. Replays. Errors with a CommandError when it could not be run, or has failed and
   * `check` is set, and with the errors of a call when the context is lost.
   */
  readonly exit: Observable<CommandExit>;
  readonly #plan: CommandPlan;
  readonly #pid = new AsyncSubject<number>();
  readonly #exit = new AsyncSubject<CommandExit>();
  #state: 'new' | 'beginning' | 'running' | 'over' = 'new';
  #users = 0;
  readonly #run = new Subscription();
  readonly #outputs: (() => void)[] = [];
  readonly #wanted = { stdout: false, stderr: false };

  /** @internal */
  constructor(plan: CommandPlan) {
    this.#plan = plan;
    this.pid = this.#using(this.#pid, 'pid');
    this.exit = this.#using(this.#exit, 'exit').pipe(map((end) => this.#checked(end)));
    this.stdout = this.#output('stdout', STDOUT);
    this.stderr = this.#output('stderr', STDERR);
  }

  /** Collects stdout and stderr and waits for the end. A command has one run, so that this can be subscribed to once. */
  result(options: ResultOptions & { readonly encoding: 'buffer' }): Observable<CommandResult<Buffer>>;
  result(options?: ResultOptions & { readonly encoding?: 'utf8' }): Observable<CommandResult>;
  result(options: ResultOptions = {}): Observable<CommandResult | CommandResult<Buffer>> {
    const { stdout, stderr } = this;
    const sources = { command: this.#plan.spec.command, exit: this.#using(this.#exit, 'exit'), stdout, stderr };
    const { report } = this.#plan.broker;
    return new GuardedObservable<CommandResult | CommandResult<Buffer>>(report, 'subscriber of the result of a command', (subscriber) => collect(sources, options).pipe(map((end) => this.#checked(end))).subscribe(subscriber));
  }

  /**
   * Sends a signal to the process group. Emits whether there was one to send it to; cold. Does not begin the command.
   *
   * @param signal - default SIGTERM
   */
  kill(signal: NodeJS.Signals = 'SIGTERM'): Observable<boolean> {
    return this.#plan.remote.signalCommand(this.#plan.key, signal);
  }

  #checked<E extends CommandExit>(end: E): E {
    if (this.#plan.check && end.code !== 0) throw commandFailed(this.#plan.spec.command, end);
    return end;
  }

  /** `source`, whose subscribers keep the command running. */
  #using<T>(source: Observable<T>, name: string): Observable<T> {
    return new GuardedObservable<T>(this.#plan.broker.report, `subscriber of ${name} of a command`, (subscriber) => {
      const release = this.#use();
      const inner = source.subscribe(passing(subscriber, release));
      return () => {
        inner.unsubscribe();
        release(false);
      };
    });
  }

  #output(name: 'stdout' | 'stderr', fd: number): CommandOutput {
    const { broker, remote, key } = this.#plan;
    return new CommandOutput(broker.report, `subscriber of ${name} of a command`, (subscriber, manual, [values, bytes]) => {
      if (this.#wanted[name]) throw new UsageError('ERR_TENDRIL_COMMAND_OUTPUT', `${name} of a command has one subscriber; share() it where several want it, and begin a new command to run it again`);
      if (this.#state === 'running' || this.#state === 'over') throw new UsageError('ERR_TENDRIL_COMMAND_OUTPUT', `nobody had subscribed to ${name} when the command began, so it went to /dev/null: subscribe in the same turn, or use result()`);
      this.#wanted[name] = true;
      const release = this.#use();
      const inner = new Subscription();
      this.#outputs.push(() => {
        if (inner.closed) return;
        const source = remote.commandOutput(key, fd).windowed({ values, bytes });
        const observer = passing<unknown>(subscriber, release);
        inner.add(manual ? source.deliveries().subscribe(observer) : source.subscribe(observer));
      });
      return new Subscription(() => {
        inner.unsubscribe();
        release(false);
      });
    });
  }

  /** Somebody wants something of it. To be called back when that has come to its end, or when it is wanted no more. */
  #use(): (ended: boolean) => void {
    this.#users++;
    if (this.#state === 'new') {
      this.#state = 'beginning';
      this.#plan.broker.defer(() => {
        this.#begin();
      });
    }
    let released = false;
    return (ended) => {
      if (released) return;
      released = true;
      if (--this.#users === 0 && !ended) this.#abandon();
    };
  }

  #begin(): void {
    if (this.#state !== 'beginning') return;
    this.#state = 'running';
    const { remote, key, spec, stdin } = this.#plan;
    const run = remote.runCommand(key, { ...spec, ...this.#wanted }, stdin === undefined ? null : sendable(stdin)).subscribe({
      next: (event) => {
        this.#take(event);
      },
      error: (error: unknown) => {
        this.#fail(commandError(error));
      },
    });
    this.#run.add(run);
    for (const begin of this.#outputs.splice(0)) begin();
  }

  #take([kind, value, signal]: CommandEvent): void {
    if (kind === 'pid') {
      this.#pid.next(value);
      this.#pid.complete();
      return;
    }
    this.#state = 'over';
    this.#exit.next({ code: value, signal: (signal ?? null) as NodeJS.Signals | null });
    this.#exit.complete();
  }

  #fail(error: unknown): void {
    this.#state = 'over';
    this.#pid.error(error);
    this.#exit.error(error);
  }

  /** The last one has left before the end. */
  #abandon(): void {
    if (this.#state === 'over') return;
    this.#run.unsubscribe();
    this.#fail(new CommandError('ERR_TENDRIL_COMMAND_CANCELLED', `${this.#plan.spec.command} was ended, because nobody was subscribed to it any more`));
  }
}

/** Passes on what comes; that something has come to its end is noted before the subscriber hears of it. */
function passing<T>(subscriber: Observer<T>, release: (ended: boolean) => void): Observer<T> {
  return {
    next: (value) => {
      subscriber.next(value);
    },
    error: (error: unknown) => {
      release(true);
      subscriber.error(commandError(error));
    },
    complete: () => {
      release(true);
      subscriber.complete();
    },
  };
}
