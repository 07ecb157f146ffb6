import type { ExitRule } from '../classify-exit.ts';

/** The descriptors on which script(1) is given what the command is to have as its first three. */
const LINE_PRELUDE = 'exec 0<&3 1>&4 2>&5 3<&- 4>&- 5>&-;exec ';

/** A word for sh, whatever it holds. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

/**
 * The command with a terminal of its own that is not its stdin, stdout or stderr: those come in as the descriptors 3 to
 * 5 of script(1), whose own stdin and stdout are then what is typed and shown. Known to util-linux.
 */
export function underTerminal(argv: readonly string[]): readonly string[] {
  return ['script', '-qec', LINE_PRELUDE + argv.map(quoted).join(' '), '/dev/null'];
}

/** Where the script(1) of a machine does not do that, or there are no terminals left. */
export const TTY_RULES: readonly ExitRule[] = [
  { reason: 'TTY_REQUIRED', says: 'no terminal could be made', phase: 'command', text: /script: (?:failed to create pseudo-terminal|openpty failed|cannot (?:open|create) pseudo)/i },
  { reason: 'TTY_REQUIRED', says: 'script(1) here is not the one of util-linux, and others cannot keep the protocol off the terminal', phase: 'command', text: /script: (?:(?:illegal|invalid|unrecognized|unknown) option|usage)/i },
];
