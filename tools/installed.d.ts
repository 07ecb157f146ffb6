/** A nested npm project of the tests. */
export interface Installed {
  readonly directory: string;
  /** Why its packages cannot be had here. */
  readonly problem?: string;
}

/** One of the versions of Node in `test/nodes`. */
export interface InstalledNode {
  /** Its name there, such as `node-22-old`. */
  readonly name: string;
  /** As `process.version` gives it. */
  readonly version: string;
  readonly path: string;
}

export function installed(name: string): Installed;
export function installedNodes(): { readonly nodes: readonly InstalledNode[]; readonly problem?: string };
