import { command } from './command.ts';
import { doas } from './doas.ts';
import { su } from './su.ts';
import { sudo } from './sudo.ts';

/** The connection methods that start a program on this machine, by name. */
export const COMMAND_METHODS = { sudo, su, doas, command } as const;
