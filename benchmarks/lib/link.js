// Commands for children that are reached over a slow link.
import { fileURLToPath } from 'node:url';

const relay = fileURLToPath(new URL('delay.js', import.meta.url));

/** Milliseconds that each message takes, each way; a round trip takes twice as long. */
export const DELAY_MS = 25;

/** For `nodePath`: Node behind the link. */
export const overLink = (node) => [process.execPath, relay, String(DELAY_MS), 'fds', node];

/** For Mitogen's `python_path`. */
export const pythonOverLink = (python) => [process.execPath, relay, String(DELAY_MS), 'stdio', python];
