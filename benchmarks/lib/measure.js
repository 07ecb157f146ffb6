// Interleaved blocks, medians, and ratios of what was measured side by side.
import { median, quantile } from './statistics.js';

/** Set to end a run: what was started is ended in order. */
export const interruption = { asked: false };

/**
 * Measures all candidates in turn, block by block, in a new random order each cycle: what the machine does beside this
 * hits all of them alike. The first `warmUp` cycles are not counted.
 *
 * @param blocks - for each candidate what runs one block and gives its figure; a block that throws ends the run
 * @returns the figures of each candidate; those at the same index are of the same cycle
 */
export async function interleave(blocks, { cycles, seconds, warmUp = 1 }) {
  const names = Object.keys(blocks);
  const figures = Object.fromEntries(names.map((name) => [name, []]));
  let begun = performance.now();
  for (let cycle = -warmUp; cycle < cycles; cycle++) {
    if (cycle === 0) begun = performance.now();
    // Three cycles at least, so that there is a median on a slow machine.
    if (cycle >= 3 && performance.now() - begun > seconds * 1000) break;
    for (const name of shuffled(names)) {
      if (interruption.asked) throw new Error('interrupted');
      const figure = await blocks[name]();
      if (cycle >= 0) figures[name].push(figure);
    }
  }
  return figures;
}

function shuffled(items) {
  const result = [...items];
  for (let index = result.length - 1; index > 0; index--) {
    const other = Math.floor(Math.random() * (index + 1));
    [result[index], result[other]] = [result[other], result[index]];
  }
  return result;
}

/** Our figure over the peer's: the median over the cycles of their ratio in that cycle. */
export function pairedRatio(ours, theirs) {
  return median(ours.map((figure, cycle) => figure / theirs[cycle]).filter(Number.isFinite));
}

/**
 * One table of the report.
 *
 * @param title - what was measured
 * @param unit - of the figures
 * @param figures - of each candidate, as `interleave` gives them
 * @param ours - which candidate is ours
 * @param targets - `{ than, atMost | atLeast | under | over }`: bounds of our ratio to the candidate `than`, or of our
 *   own figure where `than` is left out
 */
export function report({ title, unit, figures, ours = 'tendril', targets = [] }) {
  const mine = figures[ours];
  const rows = Object.entries(figures).map(([name, values]) => ({
    name,
    median: median(values),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    blocks: values.length,
    ...(name !== ours && mine && { ratio: pairedRatio(mine, values) }),
  }));
  const verdicts = !mine ? [] : targets.filter(({ than }) => than === undefined || figures[than]).map(({ than, ...bound }) => {
    const got = than === undefined ? median(mine) : pairedRatio(mine, figures[than]);
    return { ...(than && { than }), ...bound, got, met: holds(got, bound) };
  });
  return { title, unit, ours, rows, targets: verdicts };
}

function holds(got, { atMost = Infinity, atLeast = -Infinity, under = Infinity, over = -Infinity }) {
  return got <= atMost && got >= atLeast && got < under && got > over;
}
