// The nested npm projects of the tests: their own package.json and lock, installed where something needs them for the
// first time, and again when their lock has changed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What npm says when it is the network that fails, and not the project. */
const UNREACHABLE = /\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|E50[234])\b/;
const POLL_MS = 100;

/**
 * Makes sure that `test/<name>` has its packages, exactly those of its lock, without running any of their scripts.
 *
 * @returns the directory, and what is the matter when the registry cannot be reached or has nothing for this platform
 */
export function installed(name) {
  const directory = fileURLToPath(new URL(`../test/${name}/`, import.meta.url));
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const stamp = join(directory, 'node_modules/.installed');
  const wanted = createHash('sha256').update(readFileSync(join(directory, 'package-lock.json'))).update(`${process.platform} ${process.arch}`).digest('hex');
  const isThere = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (isThere()) return { directory };
  return alone(join(directory, '.installing'), () => {
    // Another process may have done it while we waited.
    if (isThere()) return { directory };
    const problem = install(directory);
    if (problem !== undefined) return { directory, problem };
    const missing = Object.keys({ ...dependencies, ...optionalDependencies }).filter((each) => !existsSync(join(directory, 'node_modules', each)));
    if (missing.length > 0) return { directory, problem: `npm has no ${missing.join(', ')} for this machine` };
    writeFileSync(stamp, wanted);
    return { directory };
  });
}

/** The versions of Node of `test/nodes`: name and path, in the order of its package.json. Empty when they cannot be had. */
export function installedNodes() {
  const { directory, problem } = installed('nodes');
  if (problem !== undefined) return { nodes: [], problem };
  const { optionalDependencies } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const nodes = Object.entries(optionalDependencies).map(([name, wanted]) => ({
    name,
    version: `v${wanted.split('@').at(-1)}`,
    path: join(directory, 'node_modules', name, 'bin/node'),
  }));
  return { nodes };
}

/** Runs npm; gives what keeps it from the registry. Anything else that fails is thrown. */
function install(directory) {
  const { error, status, stderr } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: directory, encoding: 'utf8', env: plainEnvironment(), stdio: ['ignore', 'ignore', 'pipe'] });
  if (error?.code === 'ENOENT') return 'npm is not installed';
  if (error) throw error;
  if (status === 0) return undefined;
  rmSync(join(directory, 'node_modules'), { recursive: true, force: true });
  if (UNREACHABLE.test(stderr)) return `npm cannot reach its registry: ${stderr.trim().split('\n')[0]}`;
  throw new Error(`npm ci in ${directory} failed:\n${stderr}`);
}

/** Without what an outer npm tells its scripts about its own project. */
function plainEnvironment() {
  const { npm_config_local_prefix: _, NODE_OPTIONS: __, ...environment } = process.env;
  return environment;
}

/** Runs `work` in one process at a time; a lock whose owner is gone is taken over. */
function alone(lock, work) {
  const owner = join(lock, 'pid');
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
    if (existsSync(owner) && !isAlive(Number(readFileSync(owner, 'utf8')))) rmSync(lock, { recursive: true, force: true });
  }
  try {
    writeFileSync(owner, String(process.pid));
    return work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
