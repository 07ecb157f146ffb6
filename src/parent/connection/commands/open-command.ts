import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { Observable, Subject, defer } from 'rxjs';
import type { Broker, Link } from '../../../core/broker/broker.ts';
import { classifyExit } from '../classify-exit.ts';
import type { ExitEvidence } from '../classify-exit.ts';
import { ConnectError } from '../connect-error.ts';
import { NOT_INHERITED } from '../local.ts';
import { pipeLink } from '../pipe-link.ts';
import { ProcessTransport } from '../process-transport.ts';
import { reveal } from '../reveal.ts';
import type { ExitStatus, FirstStage, Open, OutputChunk, Transport } from '../transport.ts';
import { WrappedLink } from '../wrapped-link.ts';
import type { CommandMethod, CommandPlan } from './plan.ts';
import { Prompter } from './prompter.ts';
import type { PromptStep } from './prompter.ts';
import { TTY_RULES, underTerminal } from './terminal.ts';

/**
 * Opens contexts by a command of this machine. The tool gets a session of its own, so that it can ask nobody but us;
 * its stdin and stdout become the protocol, and what it asks on stderr or on its terminal is answered before that.
 */
export function openBy<Options>(method: CommandMethod<Options>): Open<Options> {
  return (options, stage, broker) => defer(() => start(method.plan(options), stage, broker));
}

/** The whole command line of a plan, without the terminal. */
export function commandLine(plan: CommandPlan, stage: FirstStage): readonly string[] {
  return [...plan.argv, ...(plan.stage === 'argv' ? stage.argv : [stage.shellLine])];
}

function start(plan: CommandPlan, stage: FirstStage, broker: Broker): Observable<Transport> {
  const tty = plan.tty !== undefined;
  const argv = commandLine(plan, stage);
  const [program = '', ...args] = tty ? underTerminal(argv) : argv;
  return new Observable<Transport>((subscriber) => {
    const child = spawn(program, args, {
      stdio: tty ? ['pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'] : ['pipe', 'pipe', 'pipe'],
      detached: true,
      // script(1) gives the line to $SHELL, which may be one that does not understand it.
      env: { ...process.env, ...NOT_INHERITED, ...plan.env, ...(tty && { SHELL: '/bin/sh' }) },
    });
    let given = false;
    child.once('error', (error: NodeJS.ErrnoException) => {
      subscriber.error(spawnError(plan, program, error));
    });
    child.once('spawn', () => {
      given = true;
      subscriber.next(new CommandTransport(plan, child, broker));
      subscriber.complete();
    });
    return () => {
      if (!given) child.kill('SIGKILL');
    };
  });
}

function spawnError(plan: CommandPlan, program: string, cause: NodeJS.ErrnoException): ConnectError {
  const options = { phase: 'command', cause } as const;
  const missing = cause.code === 'ENOENT';
  if (missing && plan.tty !== undefined) return new ConnectError('TTY_REQUIRED', `${plan.argv[0] ?? ''} needs a terminal here, and there is no script(1) to make one with: install it (Debian: bsdutils, others: util-linux), or do without a password and tty`, options);
  if (missing) return new ConnectError('PROGRAM_MISSING', `${program} is not installed here: install it, or give its path by the option ${plan.programOption}`, options);
  return new ConnectError(cause.code === 'EACCES' ? 'PERMISSION_DENIED' : 'SPAWN_FAILED', `cannot start ${program}: ${cause.message}`, options);
}

/** What the tool reads and writes: its own first three descriptors, or, behind script(1), those that it is given. */
interface ToolStreams {
  readonly toTool: Writable;
  readonly fromTool: Readable;
  readonly stderr: Readable;
}

function streamsOf(child: ChildProcess, tty: boolean): ToolStreams {
  const [toTool, fromTool, stderr] = (tty ? child.stdio.slice(3) : child.stdio) as [Writable, Readable, Readable];
  return { toTool, fromTool, stderr };
}

/** Whoever writes has seen the first stage answer, so nothing that comes from now on is a prompt. */
class LinkAfterPrompts extends WrappedLink {
  #over: (() => void) | undefined;

  constructor(inner: Link, over: () => void) {
    super(inner);
    this.#over = over;
  }

  override write(parts: readonly Uint8Array[], written?: () => void): void {
    this.#over?.();
    this.#over = undefined;
    super.write(parts, written);
  }
}

/** A tool that is about to run the first stage, and may ask for a password before. */
class CommandTransport implements Transport {
  readonly link: Link;
  readonly output: Observable<OutputChunk>;
  readonly exited: Observable<ExitStatus>;
  readonly #plan: CommandPlan;
  readonly #process: ProcessTransport;
  readonly #prompter: Prompter;
  readonly #output = new Subject<OutputChunk>();
  /** Where answers are typed. */
  readonly #answers: Writable;
  #refusal: ConnectError | undefined;

  constructor(plan: CommandPlan, child: ChildProcess, broker: Broker) {
    this.#plan = plan;
    const tty = plan.tty !== undefined;
    const onTerminal = plan.tty === 'asks';
    const { toTool, fromTool, stderr } = streamsOf(child, tty);
    this.#prompter = new Prompter(plan.argv[0] ?? '', plan.prompts ?? []);
    this.link = new LinkAfterPrompts(pipeLink(fromTool, toTool), () => {
      const held = this.#prompter.finish();
      if (!onTerminal) this.#log(held);
    });
    this.#process = new ProcessTransport(child, this.link, broker, true, tty ? { stdio: stderr, stderr: child.stderr } : { stdio: stderr });
    this.exited = this.#process.exited;
    this.output = this.#output.asObservable();
    this.#answers = (onTerminal ? child.stdin : null) ?? toTool;
    if (tty) this.#readTerminal(child, onTerminal);
    this.#process.output.subscribe({
      next: (chunk) => {
        if (onTerminal || chunk.stream !== 'stdio') this.#output.next(chunk);
        else this.#log(this.#take(chunk.bytes));
      },
      complete: () => {
        if (!onTerminal) this.#log(this.#prompter.finish());
        this.#output.complete();
      },
    });
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#process.kill(signal);
  }

  release(): void {
    this.#process.release();
  }

  explain(evidence: ExitEvidence): ConnectError {
    return this.#refusal ?? classifyExit(evidence, [...this.#plan.rules, ...(this.#plan.tty === undefined ? [] : TTY_RULES)]);
  }

  /** What is shown on the terminal are prompts and the echo of answers; none of it is for the log. */
  #readTerminal(child: ChildProcess, asks: boolean): void {
    child.stdin?.on('error', () => undefined);
    child.stdout?.on('error', () => undefined).on('data', (bytes: Uint8Array) => {
      if (asks) this.#take(bytes);
    });
  }

  #take(bytes: Uint8Array): PromptStep {
    const step = this.#prompter.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'));
    for (const { answer } of step.answers) if (answer !== undefined) this.#answers.write(`${reveal(answer)}\n`);
    if (step.refusal && !this.#refusal) {
      this.#refusal = step.refusal;
      // End of file is all that a tool which runs as another account hears from us.
      this.#answers.end();
      this.link.destroy();
    }
    return step;
  }

  #log({ output }: PromptStep): void {
    if (output !== '') this.#output.next({ stream: 'stdio', bytes: Buffer.from(output, 'latin1') });
  }
}
