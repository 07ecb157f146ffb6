import { CONTAINER_RULES } from './docker.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context in a container of Podman. */
export interface PodmanOptions {
  /** Name or ID of a container that runs. */
  readonly container: string;
  /** Account in the container: a name or ID, with `:group` where wanted. Default: that of the container. */
  readonly username?: string;
  /** Working directory in the container. Default: that of the container. */
  readonly workdir?: string;
  /** The podman to run, a name or path. Default `podman`. */
  readonly podmanPath?: string;
  /** Arguments for podman itself, before the command, such as `['--remote']`. */
  readonly podmanArgs?: readonly string[];
  /** More arguments for `podman exec`. */
  readonly execArgs?: readonly string[];
}

/** A container of Podman, with root or without. */
export const podman: CommandMethod<PodmanOptions> = {
  plan: ({ container, username, workdir, podmanPath = 'podman', podmanArgs, execArgs }) => {
    const check = new OptionCheck('podman');
    return {
      argv: [
        check.text('podmanPath', podmanPath),
        ...check.list('podmanArgs', podmanArgs),
        'exec',
        ...(username === undefined ? [] : [`--user=${check.name('username', username)}`]),
        ...(workdir === undefined ? [] : [`--workdir=${check.text('workdir', workdir)}`]),
        '--interactive',
        ...check.list('execArgs', execArgs),
        '--',
        check.name('container', container),
      ],
      stage: 'argv',
      programOption: 'podmanPath',
      rules: CONTAINER_RULES,
    };
  },
  again: () => 'search',
};
