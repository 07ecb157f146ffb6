import type { Profile } from '../../core/importer/records.ts';

/** Which importer a version of Node needs: `module.registerHooks` came with 22.15 and 23.5. */
export function profileOf(nodeVersion: string): Profile {
  const [, major = '0', minor = '0'] = /^v(\d+)\.(\d+)/.exec(nodeVersion) ?? [];
  const version = Number(major) * 1000 + Number(minor);
  return version >= 23_005 || (version >= 22_015 && version < 23_000) ? 'native' : 'rendered';
}
