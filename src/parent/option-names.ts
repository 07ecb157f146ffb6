import { UsageError } from '../core/errors.ts';

/**
 * Throws ERR_TENDRIL_BAD_OPTION for an option that there is not, which TypeScript would not let pass; names the one that
 * may be meant.
 *
 * @param where - what has the options, for the message
 */
export function checkNames(where: string, options: object, names: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || names.includes(name)) continue;
    const meant = nearest(name, names);
    throw new UsageError('ERR_TENDRIL_BAD_OPTION', `${where} has no option ${name}; ${meant === undefined ? `it has ${names.join(', ')}` : `did you mean ${meant}?`}`);
  }
}

/** The name that is most like one that is wrong: a third of it at most differs, or the one goes on where the other ends. */
function nearest(wrong: string, names: readonly string[]): string | undefined {
  const given = wrong.toLowerCase();
  let best: string | undefined;
  const tooMany = Math.floor(given.length / 3) + 1;
  let least = tooMany;
  for (const name of names) {
    const known = name.toLowerCase();
    const edits = Math.min(distance(given, known), known.startsWith(given) || given.startsWith(known) ? tooMany - 0.5 : Infinity);
    if (edits < least) [best, least] = [name, edits];
  }
  return best;
}

/** How many letters must be changed, put in, left out or swapped with the next to make one text of the other. */
function distance(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_unused, column) => column)];
  const at = (row: number, column: number): number => rows[row]?.[column] ?? Infinity;
  for (let row = 1; row <= one.length; row++) {
    rows.push([row]);
    for (let column = 1; column <= other.length; column++) {
      const same = one[row - 1] === other[column - 1];
      const swapped = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      rows[row]?.push(Math.min(at(row - 1, column) + 1, at(row, column - 1) + 1, at(row - 1, column - 1) + (same ? 0 : 1), swapped ? at(row - 2, column - 2) + 1 : Infinity));
    }
  }
  return at(one.length, other.length);
}
