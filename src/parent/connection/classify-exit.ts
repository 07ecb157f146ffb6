import { ConnectError } from './connect-error.ts';
import type { ConnectPhase, ConnectReason } from './connect-error.ts';
import type { ExitStatus } from './transport.ts';

/** Default limit of {@link printable} in bytes of UTF-8. */
export const MAX_OUTPUT_BYTES = 4096;

/** How much of the output is searched for a known text, in characters; the reason stands at the end. */
const MAX_SEARCHED = 65_536;

/** What is known about a process that ended before its context was up. */
export interface ExitEvidence {
  readonly phase: ConnectPhase;
  /** Everything that came before the marker, from stdout and stderr, in the order of arrival. */
  readonly output: string | Uint8Array;
  /** How it ended; undefined when only end of file was seen. */
  readonly exit: ExitStatus | undefined;
}

/** A text of a real program, and what it means. */
export interface ExitRule {
  readonly reason: ConnectReason;
  readonly says: string;
  readonly text: RegExp;
  /** How far the connection had come, where the text says it better than the markers. */
  readonly phase?: ConnectPhase;
}

/** What every method has in common. The first that fits decides; each text was collected from the real program. */
const RULES: readonly ExitRule[] = [
  { reason: 'RUNTIME_CHECKSUM', says: 'the Node that was sent did not arrive as it is', phase: 'runtime', text: /tendril: checksum of the runtime/ },
  {
    reason: 'NODE_TOO_OLD',
    says: 'the Node there is too old to run a context; install Node 20.19 or newer',
    text: /ReferenceError: (?:fs|vm|zlib|Buffer|Atomics|SharedArrayBuffer) is not defined|(?:Buffer\.alloc|zlib\.\w+|vm\.runInThisContext|Atomics\.wait) is not a function|has no method '(?:alloc|brotliDecompressSync|inflateRawSync)'/,
  },
  {
    reason: 'CONNECT_EOF',
    says: 'there is no POSIX shell (sh) there',
    text: /exec: "sh": executable file not found|(?:^|[\s:])sh: (?:[Cc]ommand )?not found|Unknown command: '?sh\b|failed to (?:run|execute) command .?(?:\S*\/)?sh\b.{0,3}: No such file/m,
  },
  {
    reason: 'NODE_MISSING',
    says: 'Node is there but cannot run on that machine',
    text: /node\S*: (?:cannot execute(?: binary file)?: )?(?:Exec format error|cannot execute: required file not found)|version `GLIBC\w*_[\d.]+' not found|node\S*: error while loading shared libraries|Error loading shared library/,
  },
  {
    reason: 'PERMISSION_DENIED',
    says: 'Node may not be run by that account',
    text: /node\S*: (?:[Pp]ermission denied|Operation not permitted)|exec(?: failed)?: .*node.*: [Pp]ermission denied/,
  },
  {
    reason: 'NODE_MISSING',
    says: 'no Node was found there; install Node 20.19 or newer, or name it by its path',
    text: /node\S*: (?:[Cc]ommand )?not found|node\S*: inaccessible or not found|command not found: \S*node|Unknown command: '?\S*node|exec: .{0,3}\S*node\S* executable file not found|node\S*: No such file or directory|can't execute '\S*node\S*': No such file|no usable Node/,
  },
  { reason: 'PERMISSION_DENIED', says: 'the account may not run commands', text: /This account is currently not available|This service allows sftp connections only|account has expired|account is (?:currently )?locked|not allowed to execute/ },
];

/**
 * Why a process ended before its context was up.
 *
 * @param rules - texts of the connection method, which come before those that all have in common
 */
export function classifyExit(evidence: ExitEvidence, rules: readonly ExitRule[] = []): ConnectError {
  const text = typeof evidence.output === 'string' ? evidence.output : Buffer.from(evidence.output.buffer, evidence.output.byteOffset, evidence.output.byteLength).toString('utf8');
  const all = text.slice(-MAX_SEARCHED);
  const output = printable(all);
  const end = ending(evidence.exit);
  const { reason, says, phase = evidence.phase } = [...rules, ...RULES].find((rule) => rule.text.test(all)) ?? byStatus(evidence.exit);
  const last = lastLine(output);
  return new ConnectError(reason, `${says} (${end}${last === '' ? ', no output' : `; last output: ${last}`})`, { phase, output });
}

function byStatus(exit: ExitStatus | undefined): Omit<ExitRule, 'text'> {
  if (exit?.code === 127) return { reason: 'NODE_MISSING', says: 'no Node was found there; install Node 20.19 or newer, or name it by its path' };
  if (exit?.code === 126) return { reason: 'PERMISSION_DENIED', says: 'Node or the shell there may not be run by that account' };
  return { reason: 'CONNECT_EOF', says: 'the connection ended before the context was up' };
}

function ending(exit: ExitStatus | undefined): string {
  if (exit === undefined) return 'end of file';
  if (exit.signal !== null) return `ended by ${exit.signal}`;
  return exit.code === null ? 'connection lost' : `exit status ${String(exit.code)}`;
}

function lastLine(text: string): string {
  const line = text.trimEnd().split('\n').at(-1)?.trim() ?? '';
  return line.length > 300 ? `${line.slice(0, 299)}…` : line;
}

/**
 * The end of a text that someone else wrote, safe to show on a terminal: control characters and those that reorder
 * text are replaced (line ends and tabs stay), and no more than `limit` bytes of UTF-8 are kept.
 */
export function printable(text: string, limit: number = MAX_OUTPUT_BYTES): string {
  // A UTF-16 unit is at least one byte, so no more than `limit` units can be of use.
  const end = text.length > limit ? text.slice(-limit) : text;
  const safe = end.replace(/\r\n/g, '\n').replace(/[^\P{Cc}\n\t]|[\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu, '\ufffd');
  const bytes = Buffer.from(safe, 'utf8');
  if (bytes.length <= limit) return safe;
  let from = bytes.length - limit;
  while (from < bytes.length && ((bytes[from] ?? 0) & 0xc0) === 0x80) from++;
  return bytes.toString('utf8', from);
}
