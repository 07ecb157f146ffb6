import { resolve } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import type { ModulePolicyConfig } from '../../core/importer/records.ts';
import { checkNames } from '../../parent/option-names.ts';

/**
 * Which modules and files go to children. Entries name a package (`lodash`, `@scope/name`, `lodash/fp`), or a file or
 * directory (beginning with `/`, or with `./` for one below the working directory), and mean all that is in it.
 */
export interface ModuleOptions {
  /** Only these are sent, your own modules among them. Default: all that the sent modules lead to. */
  readonly allow?: readonly string[];
  /** These are never sent; wins over `allow`. Default: none. */
  readonly deny?: readonly string[];
  /**
   * These packages are taken from the child's own disk, where they must be installed below its working directory: the way
   * for native addons. Default: none.
   */
  readonly local?: readonly string[];
  /** Whether modules may read the files of their packages, through `fs`. Default: true. */
  readonly assets?: boolean;
}

/** The policy in the form that travels to the children. Throws a UsageError for what is no list of names. */
export function policyConfig(options: ModuleOptions): ModulePolicyConfig {
  checkNames('modules', options, ['allow', 'deny', 'local', 'assets'] satisfies (keyof ModuleOptions)[]);
  const { allow, deny, local, assets } = options;
  if (assets !== undefined && typeof (assets as unknown) !== 'boolean') throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option modules.assets must be true or false, got ${String(assets)}`);
  return { allow: allow === undefined ? null : entries('allow', allow), deny: entries('deny', deny ?? []), local: entries('local', local ?? []) };
}

function entries(option: string, given: unknown): string[] {
  const valid = Array.isArray(given) && given.every((entry) => typeof entry === 'string' && entry !== '');
  if (!valid) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option modules.${option} must be a list of names of packages or paths, got ${String(given)}`);
  return (given as string[]).map((entry) => (/^\.{1,2}\//.test(entry) ? resolve(entry) : entry.length > 1 ? entry.replace(/\/$/, '') : entry));
}
