/** How many of `available` bytes the next chunk has; less than one counts as one. */
export type Splitter = (available: number) => number;

/** A splitter that draws every length from 1 to `most` from a generator with this seed; the same seed, the same cuts. */
export function seededSplitter(seed: number, most = Infinity): Splitter {
  const random = seededRandom(seed);
  return (available) => 1 + Math.floor(random() * Math.min(available, most));
}

/** Numbers from 0 up to 1 that depend on the seed alone (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
