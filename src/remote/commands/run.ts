import { fault } from '../fault.ts';
import { Command } from './command.ts';
import type { CommandEvent, CommandSpec } from './protocol.ts';
import type { Stdin } from './stdin.ts';

/** The commands that run here, by the keys that their callers have chosen. */
const commands = new Map<string, Command>();

/** Runs a command: what happens to it. Cancelling the call ends it, with all that it has started in its group. */
export function runCommand(key: string, spec: CommandSpec, stdin: Stdin | null): AsyncIterable<CommandEvent> {
  const command = new Command(spec, stdin, () => {
    commands.delete(key);
  });
  commands.set(key, command);
  return command.events;
}

/** What a command writes to a descriptor. Cancelling the call closes the pipe. */
export function commandOutput(key: string, fd: number): AsyncIterable<Uint8Array> {
  return find(key).output(fd);
}

/** Sends a signal to the process group of a command; false when it has ended already. */
export function signalCommand(key: string, signal: NodeJS.Signals): boolean {
  return commands.get(key)?.signal(signal) ?? false;
}

function find(key: string): Command {
  const command = commands.get(key);
  if (command === undefined) throw fault('ERR_TENDRIL_COMMAND_OUTPUT', 'there is no such command here (any more)');
  return command;
}
