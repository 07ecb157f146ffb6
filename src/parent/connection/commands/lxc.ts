import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context in a container of LXC. */
export interface LxcOptions {
  /** Name of a container that runs. */
  readonly container: string;
  /** Directory of the containers (`-P`). Default: LXC's own. */
  readonly lxcPath?: string;
  /** The lxc-attach to run, a name or path. Default `lxc-attach`. */
  readonly lxcAttachPath?: string;
  /** More arguments for lxc-attach, such as `['--set-var', 'A=b']`. */
  readonly lxcAttachArgs?: readonly string[];
}

const RULES: readonly ExitRule[] = [
  { reason: 'TARGET_MISSING', says: 'there is no such container, or it does not run: look at lxc-ls --fancy', phase: 'command', text: /Failed to get init pid|lxc-attach: .*(?:is not running|No such file or directory - Failed to)/ },
  { reason: 'PERMISSION_DENIED', says: 'this account may not enter the container', phase: 'command', text: /lxc-attach: .*(?:Permission denied|Operation not permitted|You lack access to)/ },
];

/** A container of LXC. Its environment is not ours. */
export const lxc: CommandMethod<LxcOptions> = {
  plan: ({ container, lxcPath, lxcAttachPath = 'lxc-attach', lxcAttachArgs }) => {
    const check = new OptionCheck('lxc');
    return {
      argv: [
        check.text('lxcAttachPath', lxcAttachPath),
        ...(lxcPath === undefined ? [] : ['-P', check.text('lxcPath', lxcPath)]),
        '--clear-env',
        '--name',
        check.name('container', container),
        ...check.list('lxcAttachArgs', lxcAttachArgs),
        '--',
      ],
      stage: 'argv',
      programOption: 'lxcAttachPath',
      rules: RULES,
    };
  },
  again: () => 'search',
};
