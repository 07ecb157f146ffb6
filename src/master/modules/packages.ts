import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

const MODULES = `${sep}node_modules${sep}`;

/** What of a package.json is looked at. */
interface Manifest {
  readonly name?: unknown;
  readonly type?: unknown;
}

/** What is known of a directory. */
interface Found {
  readonly directory: string;
  readonly manifest: Manifest;
}

const manifests = new Map<string, Found | undefined>();

/** The nearest package.json above, as Node looks for it: not beyond a `node_modules`. */
function nearest(directory: string): Found | undefined {
  if (manifests.has(directory)) return manifests.get(directory);
  const file = join(directory, 'package.json');
  let found: Found | undefined;
  if (existsSync(file)) found = { directory, manifest: parse(file) };
  else if (dirname(directory) !== directory && !directory.endsWith(`${sep}node_modules`)) found = nearest(dirname(directory));
  manifests.set(directory, found);
  return found;
}

function parse(file: string): Manifest {
  try {
    const manifest: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return typeof manifest === 'object' && manifest !== null ? manifest : {};
  } catch {
    return {};
  }
}

/** The `type` of the package that a file is in. */
export function packageType(path: string): 'module' | 'commonjs' | undefined {
  const type = nearest(dirname(path))?.manifest.type;
  return type === 'module' || type === 'commonjs' ? type : undefined;
}

/**
 * The package that a file is of: what lies in a `node_modules` under its name, else the directory of the nearest
 * package.json that has a name, else of the nearest. `deep` says whether what is below the directory belongs to it:
 * without a package.json only its neighbours do.
 */
export interface Package {
  readonly root: string;
  readonly deep: boolean;
}

/** The package of a file, by its real path. */
export function packageOf(path: string): Package {
  const at = path.lastIndexOf(MODULES);
  if (at >= 0) {
    const name = /^(?:@[^/\\]+[/\\])?[^/\\]+/.exec(path.slice(at + MODULES.length))?.[0] ?? '';
    return { root: path.slice(0, at + MODULES.length) + name, deep: true };
  }
  const first = nearest(dirname(path));
  let named = first;
  while (named !== undefined && typeof named.manifest.name !== 'string') named = dirname(named.directory) === named.directory ? undefined : nearest(dirname(named.directory));
  const root = (named ?? first)?.directory;
  return root === undefined ? { root: dirname(path), deep: false } : { root, deep: true };
}

/** The package of this name that a file at `from` finds: in a `node_modules` above it, or its own. */
export function packageByName(from: string, name: string): Package | undefined {
  for (let directory = dirname(from); ; directory = dirname(directory)) {
    const root = realPath(join(directory, 'node_modules', name));
    if (root !== undefined) return { root, deep: true };
    if (nearest(directory)?.manifest.name === name) return { root: nearest(directory)?.directory ?? directory, deep: true };
    if (directory === dirname(directory)) return undefined;
  }
}

/** Whether a real path is in a package, and neither hidden there nor in another package below it. */
export function isInside({ root, deep }: Package, path: string): boolean {
  if (path === root) return true;
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep)) return false;
  const steps = relative(root, path).split(sep);
  return (deep || steps.length === 1) && !steps.some((step) => step.startsWith('.') || step === 'node_modules');
}

/** The real path, or undefined when there is nothing. */
export function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
