import { spawn } from 'node:child_process';
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { statSync } from 'node:fs';
import { Feed } from '../feed.ts';
import { errnoOf, fault, messageOf } from '../fault.ts';
import { library } from '../library.ts';
import { outputOf } from './output.ts';
import { STDOUT } from './protocol.ts';
import { feed } from './stdin.ts';
import type { Stdin } from './stdin.ts';
import type { CommandEvent, CommandSpec } from './protocol.ts';
import { guard, release, signalGroup } from './watchdog.ts';

/** Milliseconds between two looks at whether a group that was told to end has ended. */
const LOOK_MS = 20;

/** A command in a process group of its own. */
export class Command {
  /** What happens to it; leaving it before its end ends the whole group. */
  readonly events: AsyncIterable<CommandEvent>;
  readonly #spec: CommandSpec;
  readonly #onOver: () => void;
  readonly #events = new Feed<CommandEvent>(() => this.#leave());
  #child: ChildProcess | undefined;
  #onError: (error: Error) => void = () => undefined;
  /** Why it could not be started. */
  readonly #failed = new Promise<Error>((resolve) => {
    this.#onError = resolve;
  });
  /** The process has ended, or never began. */
  #exited = false;
  #cancelled = false;
  readonly #open = new Set<number>();

  /** @param onOver - told when nothing can be asked of it any more */
  constructor(spec: CommandSpec, stdin: Stdin | null, onOver: () => void) {
    this.#spec = spec;
    this.#onOver = onOver;
    this.events = this.#events;
    if (spec.stdout) this.#open.add(1);
    if (spec.stderr) this.#open.add(2);
    try {
      this.#start(spec, stdin);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What it writes to stdout (1) or stderr (2). */
  output(fd: number): AsyncIterable<Uint8Array> {
    const readable = fd === STDOUT ? this.#child?.stdout : this.#child?.stderr;
    const ended = (): void => {
      this.#close(fd);
    };
    if (this.#child?.pid === undefined) return failing(this.#failed, ended);
    if (readable == null) throw fault('ERR_TENDRIL_COMMAND_OUTPUT', `descriptor ${String(fd)} of the command is not read`);
    return outputOf(readable, ended);
  }

  /** Sends a signal to the group; false when it has ended. */
  signal(signal: NodeJS.Signals): boolean {
    const pid = this.#child?.pid;
    return pid !== undefined && !this.#exited && signalGroup(pid, signal);
  }

  /** The caller is gone, or has left: so does the command. Resolves when nothing of it is left. */
  async #leave(): Promise<void> {
    this.#cancelled = true;
    const pid = this.#child?.pid;
    if (pid !== undefined && !this.#exited) {
      for (const stream of [this.#child?.stdout, this.#child?.stderr]) if (stream?.listenerCount('data') === 0) stream.destroy();
      await this.#end(pid);
      release(pid);
    }
    this.#open.clear();
    this.#onOver();
  }

  #start({ command, args, cwd, env, shell, stdout, stderr }: CommandSpec, stdin: Stdin | null): void {
    const options: SpawnOptions = {
      ...(cwd !== undefined && { cwd }),
      env: environment(env),
      shell: shell ?? false,
      stdio: [stdin === null ? 'ignore' : 'pipe', stdout ? 'pipe' : 'ignore', stderr ? 'pipe' : 'ignore'],
      detached: true,
      windowsHide: true,
    };
    const child = spawn(command, args, options);
    this.#child = child;
    child.on('error', (error) => {
      if (child.pid === undefined) this.#fail(error);
    });
    const { pid } = child;
    if (pid === undefined) return;
    guard(pid);
    if (stdin !== null && child.stdin) {
      feed(stdin, child.stdin, (error) => {
        if (this.#exited) return;
        this.#events.end({ error: fault('ERR_TENDRIL_COMMAND_STDIN', `${command} was ended, because what it was to read failed: ${messageOf(error)}`) });
        void this.#leave();
      });
    }
    this.#events.push(['pid', pid]);
    child.on('exit', (code, signal) => {
      this.#exited = true;
      // What it has left in the background was to outlive it.
      if (!this.#cancelled) release(pid);
      this.#events.push(['exit', code, signal]);
      this.#events.end();
      this.#over();
    });
  }

  #fail(error: unknown): void {
    this.#exited = true;
    const failure = spawnFault(error, this.#spec);
    this.#onError(failure);
    this.#events.end({ error: failure });
    this.#over();
  }

  #close(fd: number): void {
    this.#open.delete(fd);
    this.#over();
  }

  #over(): void {
    if (this.#exited && this.#open.size === 0) this.#onOver();
  }

  /** SIGTERM, then SIGKILL for what is still there after the grace. */
  async #end(group: number): Promise<void> {
    const { broker } = library().router;
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => broker.after(ms, resolve));
    const deadline = broker.now() + this.#spec.graceMs;
    for (let there = signalGroup(group, 'SIGTERM'); there; there = signalGroup(group, 0)) {
      if (broker.now() >= deadline) {
        signalGroup(group, 'SIGKILL');
        return;
      }
      await sleep(LOOK_MS);
    }
  }
}

function environment(changes: CommandSpec['env'] = {}): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) Reflect.deleteProperty(env, name);
    else env[name] = typeof value === 'string' ? value : value.reveal();
  }
  return env;
}

/** Why a command could not be started. Its arguments are not named: they may be anybody's secrets. */
function spawnFault(error: unknown, { command, cwd }: CommandSpec): Error {
  const errno = errnoOf(error);
  if (cwd !== undefined && !isDirectory(cwd)) return fault('ERR_TENDRIL_COMMAND_CWD', `${command} cannot be run: its working directory ${cwd} is not there, or is no directory`);
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR':
      return fault('ERR_TENDRIL_COMMAND_NOT_FOUND', `there is no command ${command}: it is not on the PATH, or the interpreter of the script is missing`);
    case 'EACCES':
    case 'EPERM':
      return fault('ERR_TENDRIL_COMMAND_PERMISSION', `${command} cannot be run by this account: look at the modes of the file and of its directories (${errno})`);
    default:
      return fault('ERR_TENDRIL_COMMAND_SPAWN', `${command} cannot be run: ${errno === '' ? String(error) : errno}`);
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** The output of what has never begun. */
function failing(failed: Promise<Error>, ended: () => void): AsyncIterable<never> {
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        const error = await failed;
        ended();
        throw error;
      },
    }),
  };
}
