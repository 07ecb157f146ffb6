import type { ExitRule } from '../classify-exit.ts';
import { OptionCheck } from './plan.ts';
import type { CommandMethod } from './plan.ts';

/** Options of a context in a pod of Kubernetes. */
export interface KubectlOptions {
  /** Name of the pod, or what `kubectl exec` takes in its place, such as `deploy/web`. */
  readonly pod: string;
  /** Container of the pod. Default: its default container. */
  readonly container?: string;
  /** Namespace. Default: that of the kubectl configuration. */
  readonly namespace?: string;
  /** Context of the kubectl configuration. Default: the current one. */
  readonly kubeContext?: string;
  /** Path of the kubectl configuration. Default: kubectl's own. */
  readonly kubeconfig?: string;
  /** The kubectl to run, a name or path. Default `kubectl`. */
  readonly kubectlPath?: string;
  /** More arguments for kubectl, before `exec`. */
  readonly kubectlArgs?: readonly string[];
}

const RULES: readonly ExitRule[] = [
  { reason: 'TARGET_STOPPED', says: 'the container does not run', phase: 'command', text: /container not found \("|cannot exec (?:into|in) a container in a completed pod|current phase is/ },
  { reason: 'TARGET_MISSING', says: 'there is no such pod, container or namespace: check the options pod, container and namespace', phase: 'command', text: /\((?:NotFound)\)|pods? "[^"]*" not found|container \S+ is not valid for pod|namespaces "[^"]*" not found|context "[^"]*" does not exist/ },
  { reason: 'PERMISSION_DENIED', says: 'the cluster does not allow it (needs the right create on pods/exec)', phase: 'command', text: /\(Forbidden\)|is forbidden:/ },
  { reason: 'AUTH_FAILED', says: 'the cluster did not let us in: log in to it with kubectl first', phase: 'authentication', text: /\(Unauthorized\)|You must be logged in to the server/ },
  { reason: 'REFUSED', says: 'the cluster cannot be reached: check kubeContext and the network', phase: 'transport', text: /The connection to the server \S+ was refused|Unable to connect to the server/ },
];

/** A container in a pod of Kubernetes. Without a terminal, which would change the bytes of the protocol. */
export const kubectl: CommandMethod<KubectlOptions> = {
  plan: ({ pod, container, namespace, kubeContext, kubeconfig, kubectlPath = 'kubectl', kubectlArgs }) => {
    const check = new OptionCheck('kubectl');
    return {
      argv: [
        check.text('kubectlPath', kubectlPath),
        ...(kubeconfig === undefined ? [] : [`--kubeconfig=${check.text('kubeconfig', kubeconfig)}`]),
        ...(kubeContext === undefined ? [] : [`--context=${check.text('kubeContext', kubeContext)}`]),
        ...(namespace === undefined ? [] : [`--namespace=${check.name('namespace', namespace)}`]),
        ...check.list('kubectlArgs', kubectlArgs),
        'exec',
        '--stdin',
        check.name('pod', pod),
        ...(container === undefined ? [] : [`--container=${check.name('container', container)}`]),
        '--',
      ],
      stage: 'argv',
      programOption: 'kubectlPath',
      rules: RULES,
    };
  },
  again: () => 'search',
};
