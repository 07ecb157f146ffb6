import { chroot } from './chroot.ts';
import { command } from './command.ts';
import { doas } from './doas.ts';
import { docker } from './docker.ts';
import { kubectl } from './kubectl.ts';
import { lxc } from './lxc.ts';
import { nsenter } from './nsenter.ts';
import { openssh } from './openssh.ts';
import { podman } from './podman.ts';
import { su } from './su.ts';
import { sudo } from './sudo.ts';

/** The connection methods that start a program on this machine, by name. */
export const COMMAND_METHODS = { sudo, su, doas, docker, podman, kubectl, lxc, nsenter, chroot, openssh, command } as const;
