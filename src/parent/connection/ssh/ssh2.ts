import { messageOf } from '../../../core/errors.ts';
import { ConnectError } from '../connect-error.ts';

/** The module `ssh2`, an optional peer dependency. */
export type Ssh2 = Pick<typeof import('ssh2'), 'Client' | 'createAgent' | 'utils'>;

/** Loads ssh2 when it is first needed, so that programs without ssh need not install it. */
export async function loadSsh2(load: () => Promise<{ default: Ssh2 }> = () => import('ssh2')): Promise<Ssh2> {
  try {
    return (await load()).default;
  } catch (error) {
    throw new ConnectError('SSH2_MISSING', `ssh connections need the package ssh2, which cannot be loaded (${messageOf(error)}); run \`npm install ssh2\``, { phase: 'transport', cause: error });
  }
}
