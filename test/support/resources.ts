/** Kinds of resource that a test may leave behind, as Node names them. */
const WATCHED = ['TCPSocketWrap', 'TCPServerWrap', 'PipeWrap', 'PipeConnectWrap', 'TCPConnectWrap', 'ProcessWrap', 'Timeout'];

/** Counts of the sockets, pipes, processes and timers that keep this process busy. */
export function openResources(): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) if (WATCHED.includes(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

/**
 * What is open beyond `before` once the event loop had the time to close it; an empty object is what a test wants.
 * Looks until nothing is left, at most about `rounds` * 5 ms.
 */
export async function leftResources(before: Readonly<Record<string, number>>, rounds = 600): Promise<Readonly<Record<string, number>>> {
  let left: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    left = {};
    for (const [kind, count] of Object.entries(openResources())) if (count > (before[kind] ?? 0)) left[kind] = count - (before[kind] ?? 0);
    if (Object.keys(left).length === 0) break;
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
  return left;
}
