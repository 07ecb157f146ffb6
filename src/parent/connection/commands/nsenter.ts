import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck, badOption } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** A kind of Linux namespace, as nsenter names it. */
export type NamespaceKind = (typeof KINDS)[number];

const KINDS = ['mount', 'uts', 'ipc', 'net', 'pid', 'cgroup', 'user', 'time'] as const;

/** Options of a context in the namespaces of a process. */
export interface NsenterOptions {
  /** Process whose namespaces are entered, such as the leader of a container. */
  readonly pid: number;
  /** Which of them. Default mount, uts, ipc, net, pid. */
  readonly namespaces?: readonly NamespaceKind[];
  /** Account there, by number. Default: unchanged. */
  readonly uid?: number;
  /** Group there, by number. Default: unchanged. */
  readonly gid?: number;
  /** The nsenter to run, a name or path. Default `nsenter`. */
  readonly nsenterPath?: string;
  /** More arguments for nsenter. */
  readonly nsenterArgs?: readonly string[];
}

const MOST_ID = 0xffff_fffe;

const RULES: readonly ExitRule[] = [
  { reason: 'TARGET_MISSING', says: 'there is no such process: check the option pid', phase: 'command', text: /nsenter: (?:cannot open|stat of) \/proc\/\d+(?:\/ns)?\/\S+?:? ?(?:failed: )?No such file/ },
  { reason: 'PERMISSION_DENIED', says: 'this account may not enter the namespaces of that process', phase: 'command', text: /nsenter: (?:reassociate to namespaces? .*|cannot open \S+): (?:Operation not permitted|Permission denied)/ },
];

/** The namespaces of a process of this machine, by nsenter of util-linux. */
export const nsenter: CommandMethod<NsenterOptions> = {
  plan: ({ pid, namespaces = ['mount', 'uts', 'ipc', 'net', 'pid'], uid, gid, nsenterPath = 'nsenter', nsenterArgs }) => {
    const check = new OptionCheck('nsenter');
    const kinds = check.list('namespaces', namespaces);
    if (kinds.length === 0) throw badOption('nsenter', 'namespaces', 'a list of at least one kind');
    return {
      argv: [
        check.text('nsenterPath', nsenterPath),
        `--target=${String(check.whole('pid', pid, 1, 0x7fff_ffff))}`,
        ...kinds.map((kind) => `--${check.oneOf('namespaces', kind, KINDS)}`),
        ...(uid === undefined ? [] : [`--setuid=${String(check.whole('uid', uid, 0, MOST_ID))}`]),
        ...(gid === undefined ? [] : [`--setgid=${String(check.whole('gid', gid, 0, MOST_ID))}`]),
        ...check.list('nsenterArgs', nsenterArgs),
        '--',
      ],
      stage: 'argv',
      programOption: 'nsenterPath',
      rules: RULES,
    };
  },
  again: () => 'search',
};
