import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { delimiter, dirname } from 'node:path';
import type { Connection, ServerChannel, Session } from 'ssh2';

/** The small environment that a command starts with. */
export function baseEnvironment(home: string): Record<string, string> {
  const path = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  return { PATH: `${dirname(process.execPath)}${delimiter}${path}`, HOME: home, LANG: process.env['LANG'] ?? 'C.UTF-8' };
}

/** How commands are run. */
export interface CommandSetting {
  readonly shell: string;
  readonly env: Readonly<Record<string, string>>;
  readonly home: string;
  readonly groups: Groups;
}

/** Runs the commands that a client asks for in one session. */
export function serveSession(session: Session, client: Connection, setting: CommandSetting): void {
  let command: ChildProcess | undefined;
  const asked: Record<string, string> = {};
  session.on('env', (accept, _reject, { key, val }) => {
    asked[key] = val;
    // ssh2 passes no `accept` when the client wants no reply.
    (accept as (() => void) | undefined)?.();
  });
  session.on('signal', (accept, _reject, { name }) => {
    if (command !== undefined) setting.groups.signal(command, `SIG${name}` as NodeJS.Signals);
    (accept as (() => void) | undefined)?.();
  });
  session.on('exec', (accept, _reject, info) => {
    const channel = accept();
    command = spawn(setting.shell, ['-c', info.command], { cwd: setting.home, env: { SHELL: setting.shell, ...setting.env, ...asked }, stdio: 'pipe', detached: true });
    setting.groups.add(command);
    connectStreams(channel, command, client, setting.groups);
  });
}

/** Ties a command to its channel, both ways and to the end of either. */
function connectStreams(channel: ServerChannel, command: ChildProcess, client: Connection, groups: Groups): void {
  const { stdin, stdout, stderr } = command;
  if (stdin === null || stdout === null || stderr === null) return;
  const hangUp = (): void => {
    stdin.destroy();
    stdout.destroy();
    stderr.destroy();
    groups.signal(command, 'SIGHUP');
  };
  channel.on('error', () => undefined);
  stdin.on('error', () => undefined);
  channel.pipe(stdin);
  stdout.pipe(channel, { end: false });
  stderr.pipe(channel.stderr, { end: false });
  channel.on('close', hangUp);
  client.on('close', hangUp);
  command.on('error', (error) => {
    channel.stderr.write(`${error.message}\n`);
    channel.exit(127);
    channel.end();
  });
  command.on('close', (code, signal) => {
    client.off('close', hangUp);
    channel.off('close', hangUp);
    if (signal !== null) channel.exit(signal.slice('SIG'.length), false, '');
    else if (command.pid !== undefined) channel.exit(code ?? 0);
    channel.end();
  });
}

/** The process groups of running commands. */
export class Groups {
  readonly #running = new Map<ChildProcess, Promise<void>>();

  get leaders(): readonly number[] {
    return [...this.#running.keys()].flatMap(({ pid }) => pid ?? []);
  }

  add(command: ChildProcess): void {
    if (command.pid === undefined) return;
    const ended = new Promise<void>((resolve) => {
      command.once('close', () => {
        // What the command left behind in its group goes with it. Process ids go round in a circle: this one is not another's yet.
        this.signal(command, 'SIGKILL');
        this.#running.delete(command);
        resolve();
      });
    });
    this.#running.set(command, ended);
  }

  signal({ pid }: ChildProcess, signal: NodeJS.Signals): void {
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group has gone, or the client named a signal that this system does not have.
    }
  }

  async killAll(): Promise<void> {
    const running = [...this.#running];
    for (const [command] of running) this.signal(command, 'SIGKILL');
    await Promise.all(running.map(([, ended]) => ended));
  }
}
