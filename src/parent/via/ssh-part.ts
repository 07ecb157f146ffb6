import { defer, from, mergeMap } from 'rxjs';
import { methodOf } from '../connection/methods.ts';
import type { SshOptions } from '../connection/ssh/options.ts';
import { keepPart } from './part-host.ts';
import type { ParentHost } from './part-host.ts';

/** The part `ssh`: that connection method, with the package ssh2 in it, which is evaluated on first use. */
export function start(host: ParentHost, packed: Uint8Array): void {
  if (!keepPart(host, 'ssh', packed)) return;
  host.methods?.set('ssh', methodOf<SshOptions>((options, stage, broker) => defer(() => from(import('../connection/ssh/ssh.ts'))).pipe(mergeMap(({ openSsh }) => openSsh(options, stage, broker))), 'search'));
}
