import { fileURLToPath } from 'node:url';
import type { ModulePolicyConfig } from '../core/importer/records.ts';
import { withoutQuery } from './ids.ts';

/** Whether `name` is `prefix` or something in it: `lodash` and `lodash/fp`, not `lodash-es`. */
function within(name: string, prefix: string): boolean {
  return name === prefix || name.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`);
}

/** What a module is called: its path, and the name in its package if it lies in a `node_modules`. */
export function namesOf(id: string): string[] {
  if (!id.startsWith('file:')) return [id];
  const path = fileURLToPath(withoutQuery(id));
  const at = path.lastIndexOf('/node_modules/');
  return at < 0 ? [path] : [path, path.slice(at + '/node_modules/'.length)];
}

/**
 * Which modules may be served to a child (Mitogen's ImportPolicy, REFERENCE 1.2). Looked at by both ends: the child does
 * not ask for what it will not get, and the master does not trust it to.
 */
export class ModulePolicy {
  readonly #allow: readonly string[] | null;
  readonly #deny: readonly string[];
  readonly #local: readonly string[];

  constructor({ allow, deny, local }: ModulePolicyConfig) {
    this.#allow = allow;
    this.#deny = deny;
    this.#local = local;
  }

  /** Whether everything is admitted, so that nobody need look at names. */
  get open(): boolean {
    return this.#allow === null && this.#deny.length === 0;
  }

  /** Why a module with these names is refused, whatever is allowed. */
  denial(names: readonly string[]): string | undefined {
    const denied = this.#deny.find((prefix) => names.some((name) => within(name, prefix)));
    return denied === undefined ? undefined : `modules.deny has ${denied}`;
  }

  /** Why a module with these names is refused, or undefined. */
  refusal(names: readonly string[]): string | undefined {
    const denied = this.denial(names);
    if (denied !== undefined) return denied;
    if (this.#allow && !this.#allow.some((prefix) => names.some((name) => within(name, prefix)))) return 'modules.allow does not have it';
    return undefined;
  }

  /** Why a specifier can never be served: the name of a package says enough. */
  refusalOfSpecifier(specifier: string): string | undefined {
    if (/^[./#]|^\w+:/.test(specifier)) return undefined;
    // A path in the list may be where a package of any name really lies.
    if (this.#allow?.every((prefix) => !prefix.startsWith('/')) === true) return this.refusal([specifier]);
    return this.denial([specifier]);
  }

  /** Whether a child takes this from its own disk. */
  isLocal(specifier: string): boolean {
    return this.#local.some((prefix) => within(specifier, prefix));
  }
}
