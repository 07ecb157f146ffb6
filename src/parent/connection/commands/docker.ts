import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck, badOption } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context in a container of Docker. */
export interface DockerOptions {
  /** Name or ID of a container that runs. Either this or {@link image}. */
  readonly container?: string;
  /** An image, to be run in a container that is removed afterwards. */
  readonly image?: string;
  /** Account in the container: a name or ID, with `:group` where wanted. Default: that of the container. */
  readonly username?: string;
  /** Working directory in the container. Default: that of the container. */
  readonly workdir?: string;
  /** The docker to run, a name or path. Default `docker`. */
  readonly dockerPath?: string;
  /** Arguments for docker itself, before the command, such as `['--context', 'build']`. */
  readonly dockerArgs?: readonly string[];
  /** More arguments for `docker exec` or `docker run`, such as `['--env', 'A=b']`. */
  readonly execArgs?: readonly string[];
}

/** Texts that Docker and Podman have in common. What they run is started by the same programs (runc, crun). */
export const CONTAINER_RULES: readonly ExitRule[] = [
  { reason: 'TARGET_STOPPED', says: 'the container does not run: start it', phase: 'command', text: /[Cc]ontainer \S+ is (?:not running|paused|restarting)|container state improper|can only create exec sessions on running containers/ },
  { reason: 'TARGET_MISSING', says: 'there is no such container: check the option container', phase: 'command', text: /[Nn]o such container|no container with name or ID/ },
  { reason: 'TARGET_MISSING', says: 'there is no such image: check the option image', phase: 'command', text: /Unable to find image|pull access denied|manifest (?:for \S+ not found|unknown)|image not known|unable to pull|initializing source|no such image/i },
  { reason: 'USER_UNKNOWN', says: 'there is no such account in the container: check the option username', phase: 'command', text: /unable to find user|no matching entries in (?:passwd|group) file/ },
  { reason: 'PERMISSION_DENIED', says: 'this account may not use the container engine', phase: 'command', text: /permission denied while trying to connect to the (?:Docker )?(?:daemon|API)|Got permission denied/i },
  { reason: 'REFUSED', says: 'the container engine cannot be reached: does its daemon run?', phase: 'transport', text: /Cannot connect to the Docker daemon|Cannot connect to Podman|error during connect/ },
];

/** A container of Docker. */
export const docker: CommandMethod<DockerOptions> = {
  plan: ({ container, image, username, workdir, dockerPath = 'docker', dockerArgs, execArgs }) => {
    const check = new OptionCheck('docker');
    if ((container === undefined) === (image === undefined)) throw badOption('docker', 'container', 'given, or image in its place');
    return {
      argv: [
        check.text('dockerPath', dockerPath),
        ...check.list('dockerArgs', dockerArgs),
        // As process 1 of its container the context could not end itself by a signal, and nobody would reap.
        ...(container === undefined ? ['run', '--init', '--interactive', '--rm'] : ['exec', '--interactive']),
        ...(username === undefined ? [] : [`--user=${check.name('username', username)}`]),
        ...(workdir === undefined ? [] : [`--workdir=${check.text('workdir', workdir)}`]),
        ...check.list('execArgs', execArgs),
        container === undefined ? check.name('image', image) : check.name('container', container),
      ],
      stage: 'argv',
      programOption: 'dockerPath',
      rules: CONTAINER_RULES,
    };
  },
  again: () => 'search',
};
