import fc from 'fast-check';

/** A whole number from the environment, or undefined. */
function fromEnvironment(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isInteger(value)) throw new Error(`${name} is not a whole number: ${text}`);
  return value;
}

/**
 * Asserts a property. A failure prints its seed and path; `FC_SEED=<seed>` runs the same cases again, `FC_RUNS=<n>`
 * sets how many.
 *
 * @param runs - how many cases, unless FC_RUNS says otherwise
 */
export function check<Ts>(property: fc.IProperty<Ts>, runs = 100): void {
  try {
    fc.assert(property, parameters(runs));
  } catch (error) {
    throw shortened(error);
  }
}

/** The same for a property that awaits. */
export async function checkAsync<Ts>(property: fc.IAsyncProperty<Ts>, runs = 100): Promise<void> {
  try {
    await fc.assert(property, parameters(runs));
  } catch (error) {
    throw shortened(error);
  }
}

/** A counterexample with long buffers would bury the seed. */
function shortened(error: unknown): unknown {
  if (error instanceof Error) error.message = error.message.split('\n').map((line) => (line.length > 2000 ? `${line.slice(0, 2000)} ...` : line)).join('\n');
  return error;
}

function parameters(runs: number): { numRuns: number; seed?: number } {
  const seed = fromEnvironment('FC_SEED');
  return { numRuns: fromEnvironment('FC_RUNS') ?? runs, ...(seed !== undefined && { seed }) };
}

/** Bytes cut at arbitrary places; empty pieces included. */
export function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  const pieces: Uint8Array[] = [];
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    pieces.push(bytes.subarray(start, end));
    start = end;
  }
  return pieces;
}
