import type { FirstStage } from '../connection/transport.ts';
import { FIRST_STAGE, PRELUDE, quote, stageOf } from './first-stage.ts';
import { OLDEST_NODE } from './handshake.ts';

/**
 * Where a Node may be that is not on the PATH of a bare shell, by who puts it there. Installed versions come before the
 * shims of the same tool, which may have no version chosen.
 */
const PLACES: readonly (readonly [who: string, ...patterns: string[]])[] = [
  ['PATH', 'node', 'nodejs'],
  ['nvm', '~/.nvm/versions/node/*/bin/node'],
  ['volta', '~/.volta/bin/node', '~/.volta/tools/image/node/*/bin/node'],
  ['fnm', '~/.local/share/fnm/node-versions/*/installation/bin/node', '~/.fnm/node-versions/*/installation/bin/node'],
  ['asdf', '~/.asdf/installs/nodejs/*/bin/node', '~/.asdf/shims/node'],
  ['mise', '~/.local/share/mise/installs/node/*/bin/node', '~/.local/share/mise/shims/node'],
  ['n', '~/n/bin/node', '/usr/local/n/versions/node/*/bin/node'],
  ['nodenv', '~/.nodenv/versions/*/bin/node'],
  ['/usr/local', '/usr/local/bin/node', '/usr/local/lib/nodejs/*/bin/node'],
  ['/opt', '/opt/homebrew/bin/node', '/opt/node*/bin/node', '/opt/nodejs/bin/node'],
  ['snap', '/snap/bin/node'],
];

const [MAJOR, MINOR] = OLDEST_NODE;

/** Succeeds in a Node that is new enough. */
const PROBE = `v=process.versions.node.split(/[.]/);process.exit(+(v[0]*100+ +v[1]<${String(MAJOR * 100 + MINOR)}))`;

/** What the search says when it found nothing. */
const FAILED = `tendril: no usable Node (${OLDEST_NODE.join('.')} or newer) in ${PLACES.map(([who]) => who).join(', ')}`;

/**
 * The loop of the search: ends in the first stage where there is a usable Node, and goes on where there is none. Each
 * Node that is tried costs its start.
 */
export function searchLoop(title: string): string {
  const patterns = PLACES.flatMap(([, ...all]) => all).join(' ');
  return `for n in ${patterns};do "$n" -e ${quote(PROBE, 'probe')} 2>/dev/null&&exec "$n" -e ${quote(FIRST_STAGE, 'first stage')} ${quote(title, 'title')};done;`;
}

/** A first stage that looks for Node in all the usual places. It needs a shell that leaves `$` in single quotes alone. */
export function searchStage(title: string): FirstStage {
  return stageOf(`${PRELUDE}${searchLoop(title)}echo "${FAILED}";exit 127`);
}
