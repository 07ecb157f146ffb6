// The tables that a person reads.

/** Three digits that mean something. */
export function figure(value) {
  if (!Number.isFinite(value)) return '-';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function bound({ atMost, atLeast, under, over }) {
  if (atMost !== undefined) return `at most ${figure(atMost)}`;
  if (atLeast !== undefined) return `at least ${figure(atLeast)}`;
  return under !== undefined ? `under ${figure(under)}` : `over ${figure(over)}`;
}

/** A table of other columns than those of a comparison; targets are of its rows together. */
function printColumns({ title, unit, columns, rows, summary, targets }) {
  console.log(`\n${title} (${unit})`);
  const widths = Object.values(columns).map((label) => Math.max(label.length + 2, 11));
  const line = (name, cells) => console.log(`  ${name.padEnd(32)}${cells.map((cell, index) => cell.padStart(widths[index])).join('')}`);
  line('', Object.values(columns));
  for (const row of rows) line(row.name, Object.keys(columns).map((key) => (Number.isInteger(row[key]) ? String(row[key]) : figure(row[key] ?? NaN))));
  if (summary) console.log(`  ${summary}`);
  for (const target of targets) console.log(`  ${target.than}: ${figure(target.got)}, ${bound(target)}: ${target.met ? 'ok' : 'MISSED'}`);
}

/** One table: a row for each candidate, with the quartiles of its blocks, our ratio to it, and what that ratio must be. */
export function print(table) {
  if (table.columns) {
    printColumns(table);
    return;
  }
  const { title, unit, ours, rows, targets } = table;
  console.log(`\n${title} (${unit})`);
  for (const { name, median, low, high, blocks, ratio } of rows) {
    const spread = blocks > 1 ? `${figure(low)} .. ${figure(high)}` : '';
    const verdicts = targets.filter(({ than = ours }) => than === name).map((target) => `${bound(target)}${target.than ? ' x' : ''}: ${target.met ? 'ok' : 'MISSED'}`);
    const compared = name === ours ? '' : ratio === undefined ? '' : `${ours.split(',')[0]} is ${figure(ratio)} x`;
    console.log(`  ${name.padEnd(28)}${figure(median).padStart(12)}  ${spread.padEnd(20)}  ${compared.padEnd(26)} ${verdicts.join('; ')}`.trimEnd());
  }
}
